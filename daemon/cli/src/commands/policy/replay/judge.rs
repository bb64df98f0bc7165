//! Decides a past request under another policy: by [`Policy::decide`], as the daemon does, then by the command's check of
//! its arguments. What the log does not have is never guessed. Pure.

use std::fmt;

use remit_common::builtin::Builtin;
use remit_common::caps;
use remit_common::signed::Signed;
use remit_policy::{Ask, CallerIds, Command, ParamKind, Policy, Stdin, Verdict};
use remit_wire::Effect;

use super::past::{PastRequest, PastVerdict, PastWhat, RecordedValue};
use crate::commands::policy::groups::Floor;

/// The verdict of the other policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewVerdict {
    Allow {
        rule: String,
    },
    Ask {
        rule: String,
        people: usize,
        signed: Option<Signed>,
    },
    Deny {
        rule: Option<String>,
        why: String,
    },
}

/// Why there is no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CannotTell {
    NoUid,
    NoGroups,
    NoVariables,
    NoArguments,
    Secret,
    Plan,
    Following,
    SamePolicy,
}

impl CannotTell {
    pub const fn word(self) -> &'static str {
        match self {
            Self::NoUid => "no_uid",
            Self::NoGroups => "no_groups",
            Self::NoVariables => "no_variables",
            Self::NoArguments => "no_arguments",
            Self::Secret => "secret",
            Self::Plan => "plan",
            Self::Following => "following",
            Self::SamePolicy => "same_policy",
        }
    }
}

impl fmt::Display for CannotTell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoUid => "the record does not say who asked",
            Self::NoGroups => "the user's groups are not in the record, and there is no such account now",
            Self::NoVariables => "the names of the caller's variables are not in the record",
            Self::NoArguments => "an argument is not in the record as it was: hidden, escaped or truncated",
            Self::Secret => "the value of a secret is in no record",
            Self::Plan => "a plan of files is not in the record as a whole",
            Self::Following => "it followed a commit, whose rule decided",
            Self::SamePolicy => {
                "this very policy decided it otherwise then, for something that is not in the record"
            }
        })
    }
}

const FLOOR: &str = "floor.approval of remit.toml";

/// Judges a request whose groups are those of `gids`, or unknown.
pub fn judge(
    policy: &Policy,
    floor: &Floor,
    request: &PastRequest,
    gids: Option<&[u32]>,
) -> Result<NewVerdict, CannotTell> {
    let uid = request.uid.ok_or(CannotTell::NoUid)?;
    let gids = gids.ok_or(CannotTell::NoGroups)?;
    let now = decide(policy, floor, CallerIds { uid, gids }, &request.what)?;
    let is_other = match (&request.past, &now) {
        (PastVerdict::Refused(_), NewVerdict::Allow { .. } | NewVerdict::Ask { .. }) => true,
        (PastVerdict::Allowed | PastVerdict::Asked, NewVerdict::Deny { rule, .. }) => {
            rule.as_deref() != Some(FLOOR)
        }
        _ => false,
    };
    match is_other && request.policy == policy.digest() {
        true => Err(CannotTell::SamePolicy),
        false => Ok(now),
    }
}

fn decide(
    policy: &Policy,
    floor: &Floor,
    caller: CallerIds<'_>,
    what: &PastWhat,
) -> Result<NewVerdict, CannotTell> {
    match what {
        PastWhat::Run(profile, env) => {
            program(policy, caller, (profile, env), |profile, env_names| {
                Ask::Run {
                    profile: Some(profile),
                    argv0: b"",
                    env_names,
                }
            })
        }
        PastWhat::Try(profile, env) => {
            program(policy, caller, (profile, env), |profile, env_names| {
                Ask::Try {
                    profile: Some(profile),
                    env_names,
                }
            })
        }
        PastWhat::OneOff(profile, env) => {
            program(policy, caller, (profile, env), |profile, env_names| {
                Ask::Change {
                    profile: Some(profile),
                    env_names,
                }
            })
        }
        PastWhat::Named {
            name,
            effect,
            args,
            has_stdin,
            has_env,
        } => {
            let call = NamedCall {
                name,
                effect: *effect,
                has_stdin: *has_stdin,
                has_env: *has_env,
            };
            call.decide(policy, floor, caller, args)
        }
        PastWhat::Following => Err(CannotTell::Following),
    }
}

/// More variables only make a verdict stricter, so a denial without any holds for all.
fn program(
    policy: &Policy,
    caller: CallerIds<'_>,
    (profile, env): (&str, &RecordedValue<Vec<String>>),
    ask: impl for<'a> FnOnce(&'a str, &'a [&'a [u8]]) -> Ask<'a>,
) -> Result<NewVerdict, CannotTell> {
    let (names, is_known): (Vec<&[u8]>, bool) = match env {
        RecordedValue::Known(names) => (names.iter().map(String::as_bytes).collect(), true),
        RecordedValue::Unknown => (Vec::new(), false),
    };
    match policy.decide(caller, &ask(profile, &names)) {
        Verdict::Allow(_) | Verdict::Ask(_) if !is_known => Err(CannotTell::NoVariables),
        verdict => Ok(now(verdict)),
    }
}

struct NamedCall<'a> {
    name: &'a str,
    effect: Effect,
    has_stdin: bool,
    has_env: bool,
}

impl NamedCall<'_> {
    fn decide(
        &self,
        policy: &Policy,
        floor: &Floor,
        caller: CallerIds<'_>,
        args: &RecordedValue<Vec<(String, String)>>,
    ) -> Result<NewVerdict, CannotTell> {
        let (mut values, is_known) = match args {
            RecordedValue::Known(args) => (args.clone(), true),
            RecordedValue::Unknown => (Vec::new(), false),
        };
        policy.complete(caller, self.name, &mut values);
        let ask = Ask::Command {
            name: self.name,
            effect: self.effect,
            args: &values,
        };
        let verdict = policy.decide(caller, &ask);
        let command = match &verdict {
            // Nobody without a grant learns about arguments: it is the same whatever they are.
            Verdict::Deny(denial) if !is_known && !denial.is_as_unknown() => {
                return Err(CannotTell::NoArguments);
            }
            Verdict::Deny(_) => return Ok(now(verdict)),
            Verdict::Allow(_) | Verdict::Ask(_) if !is_known => {
                return Err(CannotTell::NoArguments);
            }
            Verdict::Allow(grant) => grant.command().cloned(),
            Verdict::Ask(pending) => pending.command().cloned(),
        };
        let refused = match &command {
            Some(command) => self.bound(command, &values)?,
            None => Builtin::parse(self.name, &values)
                .err()
                .map(|refusal| refusal.message),
        };
        let refused = refused.or_else(|| {
            let why = "a named command takes no variables of its caller";
            self.has_env.then(|| why.to_owned())
        });
        if let Some(why) = refused {
            return Ok(NewVerdict::Deny { rule: None, why });
        }
        Ok(match (now(verdict), self.effect, floor) {
            (NewVerdict::Allow { .. }, Effect::Change, Floor::Asks(_)) => NewVerdict::Ask {
                rule: FLOOR.into(),
                people: 1,
                signed: None,
            },
            (NewVerdict::Allow { .. }, Effect::Change, Floor::Refuses) => NewVerdict::Deny {
                rule: Some(FLOOR.into()),
                why: "every change needs an approval, and nobody is named who could give it".into(),
            },
            (now, _, _) => now,
        })
    }

    /// Returns why the definition refuses the arguments, or `None`.
    fn bound(
        &self,
        command: &Command,
        args: &[(String, String)],
    ) -> Result<Option<String>, CannotTell> {
        let is_secret = |name: &str| {
            let mut params = command.params.iter();
            params.any(|param| param.name == name && matches!(param.kind, ParamKind::Secret { .. }))
        };
        let secrets = command.params.iter().filter(|param| is_secret(&param.name));
        let mut values: Vec<(String, String)> = args
            .iter()
            .filter(|(name, _)| !is_secret(name))
            .cloned()
            .collect();
        let hidden: Vec<_> = secrets
            .map(|param| (param.name.clone(), "*".repeat(caps::SECRET_LEAST)))
            .collect();
        let has_secret = !hidden.is_empty();
        values.extend(hidden);
        match command.bind(&values, self.has_stdin) {
            Err(refusal) if !refusal.object.as_deref().is_some_and(is_secret) => {
                Ok(Some(refusal.message))
            }
            Ok(_) | Err(_) if has_secret => Err(CannotTell::Secret),
            Ok(_) | Err(_)
                if command.is_commit() || (self.has_stdin && command.stdin == Stdin::Plan) =>
            {
                Err(CannotTell::Plan)
            }
            Ok(_) | Err(_) => Ok(None),
        }
    }
}

fn now(verdict: Verdict) -> NewVerdict {
    match verdict {
        Verdict::Allow(grant) => NewVerdict::Allow {
            rule: grant.basis().to_string(),
        },
        Verdict::Ask(pending) => NewVerdict::Ask {
            rule: pending.rule().to_string(),
            people: pending.approval().count().get(),
            signed: pending.approval().signed(),
        },
        Verdict::Deny(denial) => NewVerdict::Deny {
            rule: denial.rule.map(|rule| rule.to_string()),
            why: denial.what,
        },
    }
}

#[cfg(test)]
mod tests {
    use remit_policy::Source;
    use remit_policy_files::Names;

    use super::*;
    use crate::commands::audit::AuditRecord;
    use crate::commands::policy::replay::past::{RecordKind, seen};

    const POLICY: &str = r##"
[[command]]
name = "unit.reload"
summary = "reloads"
argv = ["/usr/bin/systemctl", "reload", "{unit}"]
effect = "change"
profile = "host"
args.unit = { type = "enum", values = ["a", "b"] }

[[command]]
name = "db.dump"
summary = "dumps"
argv = ["/usr/bin/dump", "{table}"]
effect = "read"
profile = "read"
stdin = "{password}"
args.table = { type = "int" }
args.password = { type = "secret", max = 8 }

[[command]]
name = "plan.commit"
summary = "commits"
argv = ["/usr/libexec/remit/remit-commit", "commit", "/var/lib/remit/commits"]
effect = "change"
profile = "host"
stdin = "plan"

[[grant]]
name = "look"
to = ["#1000", "%#50"]
allow = ["run", "db.dump", "unit.reload"]
env = ["TZ"]
unconfined = true

[[grant]]
name = "asks"
to = ["#1001"]
allow = ["run", "change", "unit.reload", "plan.commit"]
approval = { by = ["%#60"] }

[[deny]]
name = "never"
to = ["%#70"]
deny = ["unit.reload"]
args = { unit = ["b"] }
"##;

    fn policy() -> Policy {
        let source = Source {
            name: "p.toml".into(),
            text: POLICY.into(),
        };
        let names = Names::of_other_machine(Vec::new());
        remit_policy_compile::load(&[source], &names).unwrap().0
    }

    fn request(fields: &str) -> PastRequest {
        let line = format!(r#"{{"REMIT_ARGV":"x","REMIT_PROFILE":"read",{fields}}}"#);
        match seen(&AuditRecord::of_line(line.as_bytes(), 1)) {
            RecordKind::Decided(request) => *request,
            other => panic!("{fields}: {other:?}"),
        }
    }

    fn judged(floor: &Floor, fields: &str) -> String {
        let request = request(fields);
        let gids = match &request.gids {
            Some(RecordedValue::Known(gids)) => Some(gids.clone()),
            Some(RecordedValue::Unknown) | None => None,
        };
        match judge(&policy(), floor, &request, gids.as_deref()) {
            Ok(NewVerdict::Allow { rule }) => format!("allow {rule}"),
            Ok(NewVerdict::Ask { rule, .. }) => format!("ask {rule}"),
            Ok(NewVerdict::Deny {
                rule: Some(rule), ..
            }) => format!("deny {rule}"),
            Ok(NewVerdict::Deny { rule: None, .. }) => "deny".to_owned(),
            Err(why) => why.word().to_owned(),
        }
    }

    #[test]
    fn each_request_is_decided_as_far_as_it_is_recorded() {
        let run = r#""REMIT_EVENT":"intent""#;
        let named = |name: &str, args: &str| {
            format!(r#"{run},"REMIT_COMMAND":"{name}","REMIT_ARGS":"{args}""#)
        };
        let reload =
            |args: &str| format!(r#"{},"REMIT_EFFECT":"change""#, named("unit.reload", args));
        let commit = format!(
            r#"{run},"REMIT_COMMAND":"plan.commit","REMIT_EFFECT":"change","REMIT_STDIN_SHA256":"00""#
        );
        let ann = r#""REMIT_UID":"1000","REMIT_GIDS":"9""#;
        let bob = r#""REMIT_UID":"1001","REMIT_GIDS":"9""#;
        let eve = r#""REMIT_UID":"1002","REMIT_GIDS":"9""#;
        let (look, asks) = ("look (p.toml:28)", "asks (p.toml:35)");
        for (user, what, expect) in [
            (ann, run.to_owned(), format!("allow {look}")),
            (bob, run.to_owned(), format!("ask {asks}")),
            (eve, run.to_owned(), "deny".to_owned()),
            (
                r#""REMIT_UID":"1002","REMIT_GIDS":"9 50""#,
                run.to_owned(),
                format!("allow {look}"),
            ),
            (
                ann,
                format!(r#"{run},"REMIT_ENV":"TZ""#),
                format!("allow {look}"),
            ),
            (
                ann,
                format!(r#"{run},"REMIT_ENV":"TZ LANG""#),
                format!("deny {look}"),
            ),
            (
                ann,
                format!(r#"{run},"REMIT_ENV":"TZ…""#),
                "no_variables".to_owned(),
            ),
            (
                eve,
                format!(r#"{run},"REMIT_ENV":"TZ…""#),
                "deny".to_owned(),
            ),
            (r#""REMIT_GIDS":"9""#, run.to_owned(), "no_uid".to_owned()),
            (
                r#""REMIT_UID":"1000""#,
                run.to_owned(),
                "no_groups".to_owned(),
            ),
            (
                r#""REMIT_UID":"1000","REMIT_GIDS":"9…""#,
                run.to_owned(),
                "no_groups".to_owned(),
            ),
            (
                bob,
                format!(r#"{run},"REMIT_EFFECT":"change""#),
                format!("ask {asks}"),
            ),
            (
                ann,
                format!(r#"{run},"REMIT_EFFECT":"change""#),
                "deny".to_owned(),
            ),
            (
                r#""REMIT_UID":"0","REMIT_GIDS":"0""#,
                format!(r#"{run},"REMIT_TRY":"yes""#),
                "allow try by root".to_owned(),
            ),
            (
                ann,
                format!(r#"{run},"REMIT_TRY":"yes""#),
                "deny".to_owned(),
            ),
            (ann, reload("unit=a"), format!("allow {look}")),
            (ann, reload("unit=c"), "deny".to_owned()),
            (ann, reload("unit=a other=b"), "deny".to_owned()),
            (ann, reload(""), "deny".to_owned()),
            (ann, reload("unit='***'"), "no_arguments".to_owned()),
            (eve, reload("unit='***'"), "deny".to_owned()),
            (ann, named("unit.reload", "unit=a"), "deny".to_owned()),
            (
                ann,
                format!(r#"{},"REMIT_STDIN_SHA256":"00""#, reload("unit=a")),
                "deny".to_owned(),
            ),
            (
                ann,
                format!(r#"{},"REMIT_ENV":"TZ""#, reload("unit=a")),
                "deny".to_owned(),
            ),
            (
                r#""REMIT_UID":"1000","REMIT_GIDS":"70""#,
                reload("unit=b"),
                "deny never (p.toml:41)".to_owned(),
            ),
            (
                r#""REMIT_UID":"1000","REMIT_GIDS":"70""#,
                reload("unit=a"),
                format!("allow {look}"),
            ),
            (ann, named("no.such", "unit=a"), "deny".to_owned()),
            (ann, named("db.dump", "table=1"), "secret".to_owned()),
            (ann, named("db.dump", "table=x"), "deny".to_owned()),
            (eve, named("db.dump", "table=1"), "deny".to_owned()),
            (bob, commit.clone(), "plan".to_owned()),
            (ann, commit, "deny".to_owned()),
            (
                ann,
                named("service.status", "unit=a.service"),
                format!("allow {look}"),
            ),
            (ann, named("service.status", "other=a"), "deny".to_owned()),
            (
                ann,
                format!(r#"{run},"REMIT_FOLLOWS":"0""#),
                "following".to_owned(),
            ),
        ] {
            assert_eq!(
                judged(&Floor::Off, &format!("{user},{what}")),
                expect,
                "{user},{what}"
            );
        }
    }

    #[test]
    fn floor_asks_before_changes() {
        let of = |effect: &str| {
            format!(
                r#""REMIT_EVENT":"intent","REMIT_UID":"1000","REMIT_GIDS":"9","REMIT_EFFECT":"{effect}"{}"#,
                match effect {
                    "change" => r#","REMIT_COMMAND":"unit.reload","REMIT_ARGS":"unit=a""#,
                    _ => "",
                }
            )
        };
        let asks = || Floor::Asks(vec!["%ops".to_owned()]);
        for (floor, effect, expect) in [
            (asks(), "change", format!("ask {FLOOR}")),
            (Floor::Refuses, "change", format!("deny {FLOOR}")),
            (asks(), "read", "allow look (p.toml:28)".to_owned()),
            (Floor::Refuses, "read", "allow look (p.toml:28)".to_owned()),
        ] {
            assert_eq!(judged(&floor, &of(effect)), expect);
        }
    }

    #[test]
    fn same_policy_cannot_have_decided_otherwise() {
        let digest = policy().digest().to_owned();
        let refused = |digest: &str| {
            format!(
                r#""REMIT_EVENT":"refusal","REMIT_VERDICT":"denied_rule","REMIT_UID":"1000","REMIT_GIDS":"9","REMIT_POLICY":"{digest}""#
            )
        };
        assert_eq!(
            judged(&Floor::Off, &refused("00")),
            "allow look (p.toml:28)"
        );
        assert_eq!(judged(&Floor::Off, &refused(&digest)), "same_policy");
        let allowed = format!(
            r#""REMIT_EVENT":"intent","REMIT_UID":"1002","REMIT_GIDS":"9","REMIT_POLICY":"{digest}""#
        );
        assert_eq!(judged(&Floor::Off, &allowed), "same_policy");
    }
}
