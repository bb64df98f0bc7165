//! Resolves the users and groups of rules into ids when a policy is loaded.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::load::reader::{Report, WithSpan};
use remit_policy::model::machine::{HostAddress, Ids, Machine};
use remit_policy::model::profile::User;
use remit_policy::model::rule::{Grantees, Principal, refused_id};
use remit_policy::quoted;

/// The reaction to a name that does not exist.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// A warning: a grant to nobody does no harm, and packages grant to groups that are created or get members later.
    Warns,
    /// An error: a denial of nobody allows what it should refuse. A last known id gets the denial, with a warning.
    Refuses,
    /// An error: without the account the profile is not the one that was written.
    Missing,
}

#[derive(Debug, Default)]
pub(crate) struct Resolved {
    pub(crate) users: BTreeMap<String, Option<Ids>>,
    pub(crate) groups: BTreeMap<String, Option<u32>>,
    pub(crate) hosts: BTreeMap<String, Vec<HostAddress>>,
    pub(crate) members: BTreeMap<u32, Vec<u32>>,
    /// Names of denials that do not exist now, with their last known ids.
    pub(crate) last: BTreeMap<String, u32>,
}

impl Resolved {
    /// Returns false if the user database does not know an account that a rule names.
    pub(crate) fn has_all_accounts(&self) -> bool {
        let mut users = self.users.values().map(Option::is_some);
        let mut groups = self.groups.values().map(Option::is_some);
        users.all(|is_known| is_known) && groups.all(|is_known| is_known)
    }
}

pub(crate) fn grantees(
    entries: &[WithSpan<&str>],
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
            Some(rest) => (AccountKind::Group, rest),
            None => (AccountKind::User, entry.value),
        };
        let id = match rest.strip_prefix('#') {
            Some(digits) => number(digits, kind, span.clone(), report),
            None => lookup(rest, kind, unknown, machine, resolved, span.clone(), report),
        };
        let Some(id) = id else { continue };
        if let Some(why) = refused_id(id) {
            let message = format!("{} {id} can be granted nothing: {why}", kind.words().id);
            report.error_with_help(
                span,
                message,
                "write an account of a person or an agent, or a \"%group\"",
            );
            continue;
        }
        let principal = match kind {
            AccountKind::User => Principal::User(id),
            AccountKind::Group => Principal::Group(id),
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

/// Resolves the user of a profile's jobs, by name or `#uid`. A number's primary group is the same number.
pub(crate) fn job_user(
    entry: &WithSpan<&str>,
    machine: &dyn Machine,
    resolved: &mut Resolved,
    report: &mut Report<'_>,
) -> Option<User> {
    let span = entry.span.clone();
    let ids = match entry.value.strip_prefix('#') {
        Some(digits) => {
            let id = number(digits, AccountKind::User, span.clone(), report)?;
            Ids { uid: id, gid: id }
        }
        None => {
            let (kind, unknown) = (AccountKind::User, Unknown::Missing);
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
        report.error_with_help(span, message, "write another account, or delete 'user'");
        return None;
    }
    Some(User::Fixed {
        name: entry.value.to_owned(),
        uid: ids.uid,
        gid: ids.gid,
    })
}

pub(crate) fn job_group(
    entry: &WithSpan<&str>,
    machine: &dyn Machine,
    resolved: &mut Resolved,
    report: &mut Report<'_>,
) -> Option<u32> {
    let span = entry.span.clone();
    let (kind, unknown) = (AccountKind::Group, Unknown::Missing);
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
        report.error_with_help(span, message, "write another group, or delete it");
        return None;
    }
    Some(gid)
}

#[derive(Clone, Copy)]
enum AccountKind {
    User,
    Group,
}

struct AccountWords {
    name: &'static str,
    id: &'static str,
    prefix: &'static str,
    numeric: &'static str,
}

impl AccountKind {
    const fn words(self) -> &'static AccountWords {
        match self {
            Self::User => &AccountWords {
                name: "user",
                id: "uid",
                prefix: "",
                numeric: "#",
            },
            Self::Group => &AccountWords {
                name: "group",
                id: "gid",
                prefix: "%",
                numeric: "%#",
            },
        }
    }
}

/// Returns true for `#uid` as a list of a rule can have it.
pub(crate) fn is_number(word: &str) -> bool {
    let id = word.strip_prefix('#').and_then(canonical_id);
    id.is_some_and(|id| refused_id(id).is_none())
}

/// Parses a decimal id without sign, spaces or leading zeros, so that each has one form.
fn canonical_id(digits: &str) -> Option<u32> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = plain && (digits == "0" || !digits.starts_with('0'));
    canonical.then(|| digits.parse().ok()).flatten()
}

fn number(
    digits: &str,
    kind: AccountKind,
    span: Range<usize>,
    report: &mut Report<'_>,
) -> Option<u32> {
    let id = canonical_id(digits);
    if id.is_none() {
        let message = format!("{} is not a {}", quoted(digits), kind.words().id);
        let help = format!(
            "write '{}' and a decimal number from 0 to 2147483647",
            kind.words().numeric
        );
        report.error_with_help(span, message, &help);
    }
    id
}

fn lookup(
    name: &str,
    kind: AccountKind,
    unknown: Unknown,
    machine: &dyn Machine,
    resolved: &mut Resolved,
    span: Range<usize>,
    report: &mut Report<'_>,
) -> Option<u32> {
    if let Some(why) = not_a_name(name) {
        let message = format!(
            "{} is not the name of a {}: {why}",
            quoted(name),
            kind.words().name
        );
        let help = meant(name, kind).unwrap_or_else(|| {
            "write the name of a user, a group as \"%ops\", or a number as \"#1000\" or \"%#100\"".into()
        });
        report.error_with_help(span, message, &help);
        return None;
    }
    let id = match kind {
        AccountKind::User => {
            let ids = machine.user(name);
            resolved.users.insert(name.to_owned(), ids);
            ids.map(|ids| ids.uid)
        }
        AccountKind::Group => {
            let gid = machine.group(name);
            resolved.groups.insert(name.to_owned(), gid);
            gid
        }
    };
    if id.is_none() {
        let help = meant(name, kind);
        let message = format!("there is no {} {}", kind.words().name, quoted(name));
        match unknown {
            Unknown::Warns => {
                let message = format!("{message}: nobody is granted anything by that name");
                report.warning(span, message, help.as_deref());
            }
            Unknown::Missing => {
                let help = help.unwrap_or_else(|| "create it, or write another".into());
                report.missing_account(span, message, &help);
            }
            Unknown::Refuses => {
                let last = match kind {
                    AccountKind::User => machine.last_uid(name),
                    AccountKind::Group => machine.last_gid(name),
                };
                if let Some(id) = last {
                    let what = kind.words().id;
                    let message =
                        format!("{message} now: this denial goes on for {what} {id}, which it was");
                    let help = "if it is gone for good, delete it from the list";
                    report.warning(span, message, Some(help));
                    resolved
                        .last
                        .insert(format!("{}{name}", kind.words().prefix), id);
                    return last;
                }
                let message = format!("{message}, so this denial would hit nobody");
                let help = help.unwrap_or_else(|| "create it, or delete it from the list".into());
                report.missing_account(span, message, &help);
            }
        }
    }
    id
}

/// Returns what to write instead of a name that other programs' files would have.
fn meant(name: &str, kind: AccountKind) -> Option<String> {
    const ALL_USERS: [&str; 6] = ["*", "all", "any", "anyone", "everybody", "everyone"];
    if ALL_USERS.contains(&name.to_ascii_lowercase().as_str()) {
        return Some(
            "there is no word for everybody: write a group, as \"%remit\" for all agents".into(),
        );
    }
    if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(format!(
            "write \"{}{name}\" for a {}",
            kind.words().numeric,
            kind.words().id
        ));
    }
    let group = ["@", "+", "group:", ":"]
        .iter()
        .find_map(|sign| name.strip_prefix(sign))?;
    let group = remit_common::text::line(group.as_bytes(), 64);
    (!group.is_empty()).then(|| format!("write \"%{group}\" for a group"))
}

/// Returns why no account can have this name. Names are never made into paths, so slashes are harmless (CVE-2023-42456).
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
