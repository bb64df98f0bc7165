//! `remit grant`: approves runs of a command in advance, for a limited time.

use nix::unistd::{Gid, Group, Uid, User};
use remit_common::admin::{ActiveGrant, AdminReply, AdminRequest, Grantee, NewGrant};
use remit_common::refusal::{Code, Refusal};
use remit_common::text;

use super::grants;
use crate::args::GrantArgs;
use crate::context::Context;
use crate::error::Failure;
use crate::exit::Exit;
use crate::render::output::{self, Form};
use crate::{client::admin_socket, render::units};

pub fn grant(context: &Context, args: GrantArgs) -> Result<Exit, Failure> {
    let new = NewGrant {
        to: parse_grantee(&args.grantee)?,
        what: args.what,
        args: args.args,
        for_s: args.for_s,
        uses: args.uses,
        across_reboot: args.across_reboot,
    };
    let entry = admin_socket::ask(context, AdminRequest::Grant(new), |reply| match reply {
        AdminReply::Granted(entry) => Some(entry),
        _ => None,
    })?;
    match context.form {
        Form::Json => output::json(&grants::json(&entry))?,
        Form::Text => output::text(&describe(&entry))?,
    }
    Ok(Exit::OK)
}

fn describe(entry: &ActiveGrant) -> String {
    let line = |words: &str| text::line(words.as_bytes(), 1024);
    let uses = match entry.uses_left {
        Some(uses) => format!(", {}", units::count(uses.into(), "run")),
        None => String::new(),
    };
    format!(
        "grant {0}: {1} may run {2} without another approval for {3}{uses}\nto end it: remit revoke {0}\n",
        entry.grant,
        line(&grants::to(&entry.new.to)),
        line(&grants::what(&entry.new)),
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
