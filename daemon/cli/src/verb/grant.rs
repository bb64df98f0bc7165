//! `remit grant`: approve runs of a command beforehand, for a time.

use nix::unistd::{Gid, Group, Uid, User};
use remit_common::admin::{AdminReply, AdminRequest, GivenGrant, NewGrant, Whom};
use remit_common::refusal::{Code, Refusal};
use remit_common::text;

use super::grants;
use crate::app::Context;
use crate::args::GrantArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Form};
use crate::{admin, human};

/// Gives it, and shows it as it was given.
pub fn grant(context: &Context, args: GrantArgs) -> Result<Exit, Failure> {
    let new = NewGrant {
        to: whom(&args.who)?,
        what: args.what,
        args: args.args,
        for_s: args.for_s,
        uses: args.uses,
        across_reboot: args.across_reboot,
    };
    let given = admin::ask(context, AdminRequest::Grant(new), |reply| match reply {
        AdminReply::Granted(given) => Some(given),
        _ => None,
    })?;
    match context.form {
        Form::Json => output::json(&grants::json(&given))?,
        Form::Text => output::text(&told(&given))?,
    }
    Ok(Exit::OK)
}

fn told(given: &GivenGrant) -> String {
    let line = |words: &str| text::line(words.as_bytes(), 1024);
    let uses = match given.uses_left {
        Some(uses) => format!(", {}", human::count(uses.into(), "run")),
        None => String::new(),
    };
    format!(
        "grant {0}: {1} may run {2} without another approval for {3}{uses}\nto end it: remit revoke {0}\n",
        given.grant,
        line(&grants::to(&given.new.to)),
        line(&grants::what(&given.new)),
        human::duration(given.left_ms),
    )
}

/// Whom a word means on this machine: a user, `%` a group, with `#` by number.
fn whom(word: &str) -> Result<Whom, Failure> {
    let shown = || text::line(word.as_bytes(), 64);
    let wrong = |why: String| Failure::Input(Refusal::new(Code::InvalidArgs, why));
    let unknown = |what: &str| wrong(format!("there is no {what} '{}' on this machine", shown()));
    let number = |digits: &str| {
        // An id of all ones means none at all to the kernel (setreuid(2)).
        let id = digits.parse().ok().filter(|id| *id != u32::MAX);
        id.filter(|_| digits.bytes().all(|digit| digit.is_ascii_digit()))
            .ok_or_else(|| wrong(format!("'{}' is no number of a user or group", shown())))
    };
    let group = |gid: Gid, name: &str| Whom::Group {
        name: name.to_owned(),
        gid: gid.as_raw(),
    };
    let user = |uid: Uid| Whom::User {
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
        let user = |name: &str, uid| Whom::User {
            name: name.to_owned(),
            uid,
        };
        let group = |name: &str, gid| Whom::Group {
            name: name.to_owned(),
            gid,
        };
        for (word, expect) in [
            ("root", user("root", 0)),
            ("#64999", user("#64999", 64999)),
            ("%root", group("root", 0)),
            ("%#64999", group("#64999", 64999)),
        ] {
            assert_eq!(whom(word).unwrap(), expect, "{word}");
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
            assert!(matches!(whom(wrong), Err(Failure::Input(_))), "{wrong}");
        }
    }
}
