//! `remit grant`, `remit grants` and `remit revoke`: temporary grants.

use nix::unistd::{Gid, Group, Uid, User};
use remit_common::admin::{ActiveGrant, AdminReply, AdminRequest, Grantee, NewGrant, in_short};
use remit_common::refusal::{Code, Refusal};
use remit_common::text;
use remit_policy::model::paths::{NO_PATTERNS, NO_PATTERNS_HELP, looks_like_pattern};
use remit_policy::quoted;
use serde_json::{Value, json};

use crate::args::{GrantArgs, RevokeArgs};
use crate::client::admin_socket;
use crate::error::{Exit, Failure};
use crate::render::output::{self, Context, Form};
use crate::render::table::Table;
use crate::render::units;
use crate::render::units::Width;

pub fn grant(context: &Context, args: GrantArgs) -> Result<Exit, Failure> {
    let new = NewGrant {
        to: parse_grantee(&args.grantee)?,
        what: args.what,
        args: args.args,
        for_s: args.for_s,
        uses: args.uses,
        across_reboot: args.across_reboot,
        paths: args.paths,
    };
    // Before the answer: a refusal would mislead.
    pattern_notes(&new.paths).for_each(|note| output::note(&note));
    let request = AdminRequest::Grant {
        new,
        accepts_paths: args.accept_paths,
    };
    let entry = admin_socket::ask(context, request, |reply| match reply {
        AdminReply::Granted(entry) => Some(entry),
        _ => None,
    })?;
    match context.form {
        Form::Json => output::json(&json(&entry))?,
        Form::Text => output::text(&describe(&entry))?,
    }
    Ok(Exit::OK)
}

fn pattern_notes(paths: &[String]) -> impl Iterator<Item = String> {
    let patterns = paths.iter().filter(|path| looks_like_pattern(path));
    patterns.map(|path| format!("{}: {NO_PATTERNS}: {NO_PATTERNS_HELP}", quoted(path)))
}

fn describe(entry: &ActiveGrant) -> String {
    let line = |words: &str| text::line(words.as_bytes(), 1024);
    let uses = match entry.uses_left {
        Some(uses) => format!(", {}", units::count(uses, "run")),
        None => String::new(),
    };
    format!(
        "grant {0}: {1} may run {2} without another approval for {3}{uses}\nto end it: remit revoke {0}\n",
        entry.grant,
        line(&to(&entry.new.to)),
        line(&what(entry)),
        units::duration(entry.left_ms),
    )
}

/// Resolves a user, or a group after `%`; a number after `#`.
fn parse_grantee(word: &str) -> Result<Grantee, Failure> {
    let shown = || text::line(word.as_bytes(), 64);
    let wrong = |why: String| Failure::Input(Refusal::new(Code::InvalidArgs, why));
    let unknown = |what: &str| wrong(format!("there is no {what} '{}' on this machine", shown()));
    let number = |digits: &str| {
        // The kernel treats an id of all ones as no id (setreuid(2)).
        let id = digits.parse().ok().filter(|id| *id != u32::MAX);
        id.filter(|_| digits.bytes().all(|digit| digit.is_ascii_digit()))
            .ok_or_else(|| wrong(format!("'{}' is not a uid or gid", shown())))
    };
    let group = |gid: Gid, name: &str| Grantee::Group {
        name: name.to_owned(),
        gid: gid.as_raw(),
    };
    let user = |uid: Uid| Grantee::User {
        name: word.to_owned(),
        uid: uid.as_raw(),
    };
    match (word.strip_prefix('%'), word.strip_prefix('#')) {
        (Some(name), _) => match name.strip_prefix('#') {
            Some(digits) => Ok(group(Gid::from_raw(number(digits)?), name)),
            None => match Group::from_name(name).map_err(|e| lookup(word, e))? {
                Some(found) => Ok(group(found.gid, name)),
                None => Err(unknown("group")),
            },
        },
        (None, Some(digits)) => Ok(user(Uid::from_raw(number(digits)?))),
        (None, None) => match User::from_name(word).map_err(|e| lookup(word, e))? {
            Some(found) => Ok(user(found.uid)),
            None => Err(unknown("user")),
        },
    }
}

fn lookup(word: &str, errno: nix::errno::Errno) -> Failure {
    let word = text::line(word.as_bytes(), 64);
    let why = format!("cannot look '{word}' up: {}", errno.desc());
    Failure::Input(Refusal::new(Code::InvalidArgs, why))
}

pub fn grants(context: &Context) -> Result<Exit, Failure> {
    let grants = admin_socket::ask(context, AdminRequest::Grants, |reply| match reply {
        AdminReply::Grants(grants) => Some(grants),
        _ => None,
    })?;
    match context.form {
        Form::Json => {
            let grants: Vec<Value> = grants.iter().map(json).collect();
            output::json(&json!({ "grants": grants }))?;
        }
        Form::Text => output::text(&show_list(&grants, context.width))?,
    }
    Ok(Exit::OK)
}

fn show_list(grants: &[ActiveGrant], width: Width) -> String {
    if grants.is_empty() {
        return "no temporary grants\n".to_owned();
    }
    let mut table = Table::new([
        ">GRANT",
        "TO",
        ">LEFT",
        ">?RUNS LEFT",
        "?SURVIVES REBOOT",
        "?BY",
        "~WHAT",
    ]);
    for entry in grants {
        let uses = entry.uses_left.map(|uses| uses.to_string());
        let reboot = match entry.new.across_reboot {
            true => "yes",
            false => "no",
        };
        table.row([
            &entry.grant.to_string(),
            &to(&entry.new.to),
            &units::duration(entry.left_ms),
            &uses.unwrap_or_default(),
            reboot,
            &entry.by,
            &what(entry),
        ]);
    }
    table.render(width)
}

pub fn to(grantee: &Grantee) -> String {
    match grantee {
        Grantee::User { name, .. } => name.clone(),
        Grantee::Group { name, .. } => format!("%{name}"),
    }
}

pub fn what(entry: &ActiveGrant) -> String {
    let new = &entry.new;
    let args = new
        .args
        .iter()
        .map(|(arg, value)| format!(" {arg}={value}"));
    let paths = match new.paths.is_empty() {
        true => String::new(),
        false => format!(" in {}", new.paths.join(", ")),
    };
    let what = in_short(&new.what, &entry.covered);
    format!("{what}{}{paths}", args.collect::<String>())
}

pub fn json(entry: &ActiveGrant) -> Value {
    let ActiveGrant {
        grant,
        new,
        covered,
        by,
        by_uid,
        granted_ms,
        left_ms,
        uses_left,
    } = entry;
    let (uid, gid) = match new.to {
        Grantee::User { uid, .. } => (Some(uid), None),
        Grantee::Group { gid, .. } => (None, Some(gid)),
    };
    let args: Vec<Value> = new
        .args
        .iter()
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect();
    json!({
        "grant": grant,
        "to": to(&new.to),
        "uid": uid,
        "gid": gid,
        "what": new.what,
        "covered": covered,
        "args": args,
        "paths": new.paths,
        "for_s": new.for_s,
        "left_ms": left_ms,
        "uses": new.uses,
        "uses_left": uses_left,
        "across_reboot": new.across_reboot,
        "by": by,
        "by_uid": by_uid,
        "given_ms": granted_ms,
    })
}

/// Ends one grant or all. Nothing starts by them after the daemon's reply.
pub fn revoke(context: &Context, args: &RevokeArgs) -> Result<Exit, Failure> {
    admin_socket::tell_done(context, AdminRequest::Revoke { grant: args.id })?;
    Ok(Exit::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_looked_up() {
        let user = |name: &str, uid| Grantee::User {
            name: name.to_owned(),
            uid,
        };
        let group = |name: &str, gid| Grantee::Group {
            name: name.to_owned(),
            gid,
        };
        for (word, expect) in [
            ("root", user("root", 0)),
            ("#64999", user("#64999", 64999)),
            ("%root", group("root", 0)),
            ("%#64999", group("#64999", 64999)),
        ] {
            assert_eq!(parse_grantee(word).unwrap(), expect, "{word}");
        }
        for wrong in [
            "",
            "%",
            "#",
            "%#",
            "#-1",
            "#+1",
            "# 1",
            "#4294967295",
            "no such\nuser",
            "%no-such-group-x",
        ] {
            assert!(
                matches!(parse_grantee(wrong), Err(Failure::Input(_))),
                "{wrong}"
            );
        }
    }
}
