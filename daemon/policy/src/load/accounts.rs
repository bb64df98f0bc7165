//! Users and groups that rules name, turned into ids when a policy is loaded.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use crate::load::diagnostic::quoted;
use crate::load::reader::{Placed, Report};
use crate::model::machine::{Ids, Machine};
use crate::model::profile::User;
use crate::model::rule::{Grantees, Principal};

/// The uid and gid that stand for ids without a mapping (user_namespaces(7)).
const OVERFLOW: u32 = 65534;

/// Why an id can never be granted anything.
///
/// Ids from 2^31 on are -1 or negative to programs that keep them signed
/// (CVE-2018-19788, CVE-2019-14287); the overflow id is anybody's.
pub(crate) fn refused_id(id: u32) -> Option<&'static str> {
    match id {
        OVERFLOW => Some("65534 stands for every id without a mapping"),
        0x8000_0000.. => Some("ids end at 2147483647"),
        _ => None,
    }
}

/// What happens when a rule names somebody who does not exist.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// A grant to nobody harms nobody, and packages ship grants to groups that
    /// get their members, or come into being, later: a warning.
    Warns,
    /// A denial that hits nobody allows what it was written to refuse: an error; a warning where it hit
    /// somebody who is gone.
    Refuses,
    /// A profile without the account is another one than was written: an error.
    Missing,
}

/// Each name that a load asked for with its answer: part of what the policy means.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    pub(crate) users: BTreeMap<String, Option<Ids>>,
    pub(crate) groups: BTreeMap<String, Option<u32>>,
    pub(crate) hosts: BTreeMap<String, Vec<IpAddr>>,
    /// The members of the groups that denials name, by gid.
    pub(crate) members: BTreeMap<u32, Vec<u32>>,
}

/// Resolves the entries of a `to` list.
pub(crate) fn grantees(
    entries: &[Placed<&str>],
    unknown: Unknown,
    machine: &dyn Machine,
    resolved: &mut Resolved,
    report: &mut Report<'_>,
) -> Grantees {
    let mut found = Grantees::default();
    for entry in entries {
        found.words.push(entry.value.to_owned());
        let span = entry.span.clone();
        let (kind, rest) = match entry.value.strip_prefix('%') {
            Some(rest) => (Kind::Group, rest),
            None => (Kind::User, entry.value),
        };
        let id = match rest.strip_prefix('#') {
            Some(digits) => number(digits, kind, span.clone(), report),
            None => lookup(rest, kind, unknown, machine, resolved, span.clone(), report),
        };
        let Some(id) = id else { continue };
        if let Some(why) = refused_id(id) {
            let message = format!("{} {id} can be granted nothing: {why}", kind.id());
            report.error(span, message);
            continue;
        }
        let principal = match kind {
            Kind::User => Principal::User(id),
            Kind::Group => Principal::Group(id),
        };
        if let (Principal::Group(gid), Unknown::Refuses) = (principal, unknown) {
            let members = resolved.members.entry(gid);
            let members = members.or_insert_with(|| machine.members(gid));
            found.members.extend(members.iter().copied());
        }
        found
            .ids
            .entry(principal)
            .or_insert_with(|| entry.value.to_owned());
    }
    found
}

/// The user of a profile's jobs, by name or `#uid`; of a number the primary group is the same number.
pub(crate) fn job_user(
    entry: &Placed<&str>,
    machine: &dyn Machine,
    resolved: &mut Resolved,
    report: &mut Report<'_>,
) -> Option<User> {
    let span = entry.span.clone();
    let ids = match entry.value.strip_prefix('#') {
        Some(digits) => {
            let id = number(digits, Kind::User, span.clone(), report)?;
            Ids { uid: id, gid: id }
        }
        None => {
            let (kind, unknown) = (Kind::User, Unknown::Missing);
            lookup(
                entry.value,
                kind,
                unknown,
                machine,
                resolved,
                span.clone(),
                report,
            )?;
            machine.user(entry.value)?
        }
    };
    if let Some(why) = refused_id(ids.uid).or_else(|| refused_id(ids.gid)) {
        let message = format!("no job can be {}: {why}", quoted(entry.value));
        report.error(span, message);
        return None;
    }
    Some(User::Fixed {
        name: entry.value.to_owned(),
        uid: ids.uid,
        gid: ids.gid,
    })
}

/// A group of a profile's jobs, by name or `#gid`.
pub(crate) fn job_group(
    entry: &Placed<&str>,
    machine: &dyn Machine,
    resolved: &mut Resolved,
    report: &mut Report<'_>,
) -> Option<u32> {
    let span = entry.span.clone();
    let (kind, unknown) = (Kind::Group, Unknown::Missing);
    let gid = match entry.value.strip_prefix('#') {
        Some(digits) => number(digits, kind, span.clone(), report)?,
        None => lookup(
            entry.value,
            kind,
            unknown,
            machine,
            resolved,
            span.clone(),
            report,
        )?,
    };
    if let Some(why) = refused_id(gid) {
        let message = format!("no job can be in group {}: {why}", quoted(entry.value));
        report.error(span, message);
        return None;
    }
    Some(gid)
}

#[derive(Clone, Copy)]
enum Kind {
    User,
    Group,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
        }
    }

    fn id(self) -> &'static str {
        match self {
            Self::User => "uid",
            Self::Group => "gid",
        }
    }

    /// How a numeric id is written.
    fn numeric(self) -> &'static str {
        match self {
            Self::User => "#",
            Self::Group => "%#",
        }
    }
}

/// A decimal id without sign, spaces or leading zeros: one way to write each.
fn number(digits: &str, kind: Kind, span: Range<usize>, report: &mut Report<'_>) -> Option<u32> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = plain && (digits == "0" || !digits.starts_with('0'));
    let id = canonical.then(|| digits.parse::<u32>().ok()).flatten();
    if id.is_none() {
        let message = format!("{} is not a {}", quoted(digits), kind.id());
        report.error_with_help(span, message, "a decimal number from 0 to 2147483647");
    }
    id
}

fn lookup(
    name: &str,
    kind: Kind,
    unknown: Unknown,
    machine: &dyn Machine,
    resolved: &mut Resolved,
    span: Range<usize>,
    report: &mut Report<'_>,
) -> Option<u32> {
    if let Some(why) = not_a_name(name) {
        report.error(
            span,
            format!(
                "{} is not the name of a {}: {why}",
                quoted(name),
                kind.name()
            ),
        );
        return None;
    }
    let id = match kind {
        Kind::User => {
            let ids = machine.user(name);
            resolved.users.insert(name.to_owned(), ids);
            ids.map(|ids| ids.uid)
        }
        Kind::Group => {
            let gid = machine.group(name);
            resolved.groups.insert(name.to_owned(), gid);
            gid
        }
    };
    if id.is_none() {
        let number = name.bytes().all(|byte| byte.is_ascii_digit());
        let help = number.then(|| format!("a {} is written '{}{name}'", kind.id(), kind.numeric()));
        let message = format!("there is no {} {}", kind.name(), quoted(name));
        match unknown {
            Unknown::Warns => {
                let message = format!("{message}: nobody is granted anything by that name");
                report.warning(span, message, help.as_deref());
            }
            Unknown::Missing => {
                let help = help.unwrap_or_else(|| "create it, or name another".into());
                report.error_with_help(span, message, &help);
            }
            Unknown::Refuses if matches!(kind, Kind::User) && machine.was_there(name) => {
                let message = format!("{message} any more: this denial hits nobody by that name");
                let help = help.as_deref().or(Some("take it out of the list"));
                report.warning(span, message, help);
            }
            Unknown::Refuses => {
                let message = format!("{message}, so this denial would hit nobody");
                let help = help.unwrap_or_else(|| "create it, or take it out of the list".into());
                report.error_with_help(span, message, &help);
            }
        }
    }
    id
}

/// Why no account can have this name. Names are only ever looked up, never
/// made into paths, so spaces and slashes are harmless (CVE-2023-42456).
fn not_a_name(name: &str) -> Option<&'static str> {
    const MOST: usize = 256;
    if name.is_empty() {
        Some("it is empty")
    } else if name.len() > MOST {
        Some("it is over 256 bytes")
    } else if name.contains(['*', '?']) {
        Some("names are matched whole, there are no wildcards")
    } else if name.starts_with('!') {
        Some("there is no negation, write a [[deny]]")
    } else if name.contains(|char: char| char == ':' || char.is_control()) {
        Some("passwd(5) has no room for ':' and control characters")
    } else {
        None
    }
}
