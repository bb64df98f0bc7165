//! What the policy says of a temporary grant before it exists. Pure: it creates nothing.
//!
//! **Invariant:** a grant has the values that calls of its commands have, so it covers what its giver typed.

use remit_common::admin::{Grantee, NewGrant};
use remit_common::refusal::{Code, Refusal};
use remit_common::{caps, text};
use remit_policy::{Glob, NotGivable, Policy, PreApproval, Recipient};

use crate::approval::grants::{Giver, paths, what as in_words};

/// Completes its arguments: `unit=nginx` becomes `unit=nginx.service`, as in each call.
pub fn complete(policy: &Policy, new: &mut NewGrant) -> Result<(), Refusal> {
    let Some(glob) = Glob::parse(&new.what) else {
        // The next check refuses it.
        return Ok(());
    };
    let commits = !new.paths.is_empty();
    let completed = policy.complete_granted(&glob, commits, &mut new.args);
    completed.map_err(|partly| {
        let line = |part: &str| text::line(part.as_bytes(), caps::NAME);
        let (arg, complete) = (line(&partly.arg), line(&partly.complete));
        let text = format!(
            "only some commands of '{}' complete this value of '{arg}' to '{complete}'",
            new.what
        );
        Refusal::new(Code::InvalidArgs, text)
            .next(format!("write {arg}={complete}, or name one command"))
            .object(arg)
    })
}

/// Checks that at least one command can start by this grant, and that the giver may approve it.
pub fn check_grantable(policy: &Policy, giver: &Giver, new: &NewGrant) -> Result<(), Refusal> {
    let what = &new.what;
    let glob = Glob::parse(what).ok_or_else(|| {
        let text = "a grant needs the name of a command, or a pattern of names";
        Refusal::new(Code::InvalidArgs, text)
            .object("what")
            .next("write it as in 'allow' of remit-policy(5): service.restart, service.*")
    })?;
    let granted = PreApproval {
        by: giver.caller_ids(),
        to: match new.to {
            Grantee::User { uid, .. } => Recipient::User(uid),
            Grantee::Group { gid, .. } => Recipient::Group(gid),
        },
        what: &glob,
        args: &new.args,
        paths: &paths(new),
    };
    let Err(why) = policy.may_give(&granted) else {
        return Ok(());
    };
    Err(match why {
        NotGivable::NoCommand => {
            let text = format!("no command is called '{what}'");
            Refusal::new(Code::NotFound, text)
                .object(what.as_str())
                .next("command names are in the policy files, below /etc/remit/policy.d or /usr/lib/remit/policy.d")
        }
        NotGivable::NoArgument(arg) => {
            let arg = text::line(arg.as_bytes(), caps::NAME);
            let text = format!("no command '{what}' takes these arguments together: '{arg}'");
            Refusal::new(Code::InvalidArgs, text)
                .object(arg)
                .next("they are in its [[command]], in a policy file below /etc/remit/policy.d or /usr/lib/remit/policy.d")
        }
        NotGivable::Unconfined => {
            let text = format!("'{what}' runs without a sandbox: each run needs its own approval");
            Refusal::new(Code::DeniedRule, text)
                .object(what.as_str())
                .next(
                    "wait until it is requested, then use remit pending and remit approve; commits of plans can be granted \
                     with --paths",
                )
        }
        NotGivable::NoCommit => {
            let text = format!(
                "'{what}' is not the whole name of a command that commits plans, and only that takes paths"
            );
            Refusal::new(Code::InvalidArgs, text)
                .object("paths")
                .next("write plan.commit, or leave --paths out")
        }
        NotGivable::OneOff => {
            let text = "nobody can approve a one-off change in advance: each has its own approval";
            Refusal::new(Code::DeniedRule, text)
                .object(what.as_str())
                .next("wait until it is requested, then use remit pending and remit approve")
        }
        NotGivable::Signed => {
            let text = format!(
                "a rule requires a signature of each approval for '{what}': each run needs its own"
            );
            Refusal::new(Code::DeniedRule, text)
                .object(what.as_str())
                .next(
                    "wait until it is requested, then use remit pending and remit approve --signed",
                )
        }
        NotGivable::Several => {
            let text = format!(
                "a rule requires the approval of several people for '{what}': each run needs its own"
            );
            Refusal::new(Code::DeniedRule, text)
                .object(what.as_str())
                .next("wait until it is requested, then use remit pending and remit approve")
        }
        NotGivable::Unasked => {
            let all = in_words(new);
            let text = format!(
                "no rule requires an approval of '{all}' for them: the grant would have no effect"
            );
            Refusal::new(Code::InvalidArgs, text)
                .object(what.as_str())
                .lift("a [[grant]] with an approval in the policy; then remit policy reload")
                .next("remit policy explain shows what they may do")
        }
        NotGivable::NotApprover(others) => {
            let text = format!("only others can approve this: {}", listed(&others));
            Refusal::new(Code::DeniedRule, text)
                .object(what.as_str())
                .lift("add yourself to 'by' of the rule, or ask one of them")
        }
    })
}

fn listed(words: &[String]) -> String {
    const MOST: usize = 8;
    let shown: Vec<&str> = words.iter().take(MOST).map(String::as_str).collect();
    match words.len().checked_sub(MOST) {
        None | Some(0) => shown.join(", "),
        Some(more) => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use remit_policy::MachineTable;

    use super::*;
    use crate::request::fixture::Scene;

    #[test]
    fn arguments_are_those_of_the_covered_calls() {
        let command = |name: &str, kind: &str| {
            format!(
                "[[command]]\nname = \"{name}\"\nsummary = \"x\"\neffect = \"change\"\nprofile = \"strict\"\n\
                 argv = [\"/usr/bin/true\", \"{{unit}}\"]\nargs.unit = {{ type = \"{kind}\" }}\n"
            )
        };
        let text = [
            command("service.restart", "unit"),
            command("unit.start", "unit"),
            command("unit.stop", "unit"),
            command("site.restart", "unit"),
            command("site.name", "string"),
        ];
        let policy = Scene::of(&text.concat(), &MachineTable::default()).policy;
        let in_full = |what: &str, unit: &str| {
            let mut new = NewGrant {
                to: Grantee::User {
                    name: "agent".into(),
                    uid: 1000,
                },
                what: what.into(),
                args: vec![("unit".into(), unit.into())],
                for_s: 60,
                uses: None,
                across_reboot: false,
                paths: Vec::new(),
            };
            complete(&policy, &mut new).map(|()| new.args.remove(0).1)
        };
        for (what, unit, expect) in [
            ("service.restart", "nginx", "nginx.service"),
            ("unit.*", "nginx", "nginx.service"),
            ("unit.*", "a.timer", "a.timer"),
            ("site.name", "nginx", "nginx"),
            ("site.*", "nginx.service", "nginx.service"),
            ("no.such", "nginx", "nginx"),
        ] {
            assert_eq!(in_full(what, unit).unwrap(), expect, "{what} {unit}");
        }
        // A built-in command, `service.status`, completes nothing.
        for what in ["site.*", "service.*"] {
            let refusal = in_full(what, "nginx").unwrap_err();
            assert_eq!(refusal.object.as_deref(), Some("unit"));
            let next = refusal.next.unwrap();
            assert!(next.contains("unit=nginx.service"), "{next}");
        }
    }
}
