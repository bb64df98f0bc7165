//! What the policy says of a temporary grant before it exists. Pure: it creates nothing.
//!
//! **Invariant:** a grant has the values that calls of its commands have, so it covers what its giver typed.

use remit_common::admin::{Grantee, NewGrant};
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::Effect;
use remit_common::{caps, text};
use remit_policy::{Glob, NotGivable, Policy, PreApproval, Principal};

use crate::approval::grants::{Covered, Giver, paths, what as in_words};
use crate::job::floor::{FLOOR_APPROVAL, Floor};

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

/// Returns the commands that can start by this grant. Fails if none can, or the giver may not approve it.
pub fn check_grantable(
    policy: &Policy,
    floor: &Floor,
    giver: &Giver,
    new: &NewGrant,
) -> Result<Vec<Covered>, Refusal> {
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
            Grantee::User { uid, .. } => Principal::User(uid),
            Grantee::Group { gid, .. } => Principal::Group(gid),
        },
        what: &glob,
        args: &new.args,
        paths: &paths(new),
    };
    let Err(why) = policy.may_give(&granted) else {
        return givable(floor, policy, &granted, Covered::by(new, policy));
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
            let text = format!(
                "only others can approve this: {}",
                text::first_of(others, 8)
            );
            Refusal::new(Code::DeniedRule, text)
                .object(what.as_str())
                .lift("add yourself to 'by' of the rule, or ask one of them")
        }
    })
}

/// Leaves out commands that this giver cannot approve in advance, and what the floor asks about each time. Fails if no
/// command is left.
fn givable(
    floor: &Floor,
    policy: &Policy,
    granted: &PreApproval<'_>,
    mut covered: Vec<Covered>,
) -> Result<Vec<Covered>, Refusal> {
    let effect = |name: &str| {
        policy
            .command(name)
            .map_or(Effect::Read, |found| found.effect)
    };
    covered.retain(|one| {
        let what = Glob::parse(&one.name);
        what.is_some_and(|what| {
            let one = PreApproval {
                what: &what,
                ..*granted
            };
            policy.may_give(&one).is_ok()
        })
    });
    covered.retain(|one| floor.takes_grants(effect(&one.name)));
    if !covered.is_empty() {
        return Ok(covered);
    }
    let text = format!("each change on this machine needs its own approval ({FLOOR_APPROVAL})");
    Err(Refusal::new(Code::DeniedRule, text)
        .object("floor.approval")
        .lift("write approval = false in [floor] of remit.toml, and restart remitd")
        .next("wait until it is requested, then use remit pending and remit approve"))
}

#[cfg(test)]
mod tests {
    use remit_policy::MachineTable;

    use super::*;
    use crate::approval::grants::names;
    use crate::request::fixture::Scene;

    #[test]
    fn grant_covers_what_its_giver_may_approve_in_advance() {
        let command = |name: &str, effect: &str| {
            format!(
                "[[command]]\nname = \"{name}\"\nsummary = \"x\"\neffect = \"{effect}\"\nprofile = \"strict\"\n\
                 argv = [\"/usr/bin/true\"]\n"
            )
        };
        let rule = |allow: &str, approval: &str| {
            format!(
                "[[grant]]\nto = [\"#1000\"]\nallow = [{allow}]\neffect = \"change\"\napproval = {{ {approval} }}\n"
            )
        };
        let text = [
            command("site.act", "change"),
            command("site.look", "read"),
            command("web.act", "change"),
            command("web.look", "read"),
            command("db.act", "change"),
            command("db.drop", "change"),
            command("db.key", "change"),
            command("db.other", "change"),
            rule("\"site.*\", \"web.act\", \"db.act\"", "by = [\"#1005\"]"),
            rule("\"db.drop\"", "by = [\"#1005\"], count = 2"),
            rule("\"db.key\"", "by = [\"#1005\"], signed = \"key\""),
            rule("\"db.other\"", "by = [\"#1006\"]"),
        ];
        let policy = Scene::of(&text.concat(), &MachineTable::default()).policy;
        let giver = Giver {
            uid: 1005,
            gids: Vec::new(),
            loginuid: None,
            name: "ann".into(),
        };
        let covered = |floor: &Floor, what: &str| {
            let new = NewGrant {
                to: Grantee::User {
                    name: "agent".into(),
                    uid: 1000,
                },
                what: what.into(),
                args: Vec::new(),
                for_s: 60,
                uses: None,
                across_reboot: false,
                paths: Vec::new(),
            };
            let covered = check_grantable(&policy, floor, &giver, &new);
            covered
                .map(|covered| names(&covered).join(" "))
                .map_err(|refusal| refusal.object.unwrap_or_default())
        };
        let by_floor = || Err("floor.approval".to_owned());
        for (what, off, on) in [
            ("site.act", "site.act", by_floor()),
            ("site.look", "site.look", Ok("site.look".to_owned())),
            ("site.*", "site.act site.look", Ok("site.look".to_owned())),
            // No rule asks about the look.
            ("web.*", "web.act", by_floor()),
            // The others need two people, a signature and another person.
            ("db.*", "db.act", by_floor()),
        ] {
            assert_eq!(covered(&Floor::Off, what), Ok(off.to_owned()), "{what}");
            assert_eq!(covered(&Floor::ByRule, what), on, "{what}");
        }
    }

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
