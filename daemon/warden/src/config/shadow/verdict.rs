//! Compares what two policies say of one request. Pure.

use remit_common::text;
use remit_policy::{Ask, CallerIds, Command, ParamKind, Policy, Stdin, Terms, Verdict};

use crate::job::floor::Floor;
use crate::request::{Call, ShadowVerdict};

/// Bytes of the reason in a record.
const CAUSE: usize = 300;

/// A request as it was sent. Each policy completes the arguments by its own types.
#[derive(Clone, Copy)]
pub struct Sent<'a> {
    pub caller: CallerIds<'a>,
    pub call: &'a Call,
    pub args: &'a [(String, String)],
}

/// What a policy says, with its own definition of the command.
enum Decision {
    Verdict(Verdict),
    /// A rule allows the command, but not with these arguments or this input.
    WrongArguments(String),
    /// Only one of the policies takes a plan here. The request was read as the policy in force takes it.
    OtherInput(String),
}

/// Returns the verdict of the second policy if the first one's is another. Both have the same `[floor]`, and no grant for
/// a time counts.
pub fn difference(policies: [&Policy; 2], floor: &Floor, sent: Sent<'_>) -> Option<ShadowVerdict> {
    let [live, shadow] = policies;
    let takes_plan = takes_plan(definition(live, sent.call));
    let now = Decision::of(live, floor, sent, takes_plan);
    let then = Decision::of(shadow, floor, sent, takes_plan);
    let other = then.other_than(&now)?;
    let (verdict, rule, cause) = match then {
        Decision::Verdict(Verdict::Allow(grant)) => {
            ("allow", Some(grant.basis().to_string()), other.to_owned())
        }
        Decision::Verdict(Verdict::Ask(pending)) => {
            let cause = format!("{other}: {}", pending.approval());
            ("ask", Some(pending.rule().to_string()), cause)
        }
        Decision::Verdict(Verdict::Deny(denial)) => {
            // A sentence may have a value of `then`, and the other policy may have a secret of this name.
            let cause = match policies
                .iter()
                .any(|one| takes_secret(definition(one, sent.call)))
            {
                true => denial.code.to_string(),
                false => denial.what,
            };
            ("deny", denial.rule.map(|rule| rule.to_string()), cause)
        }
        Decision::WrongArguments(rule) => ("deny", Some(rule), other.to_owned()),
        Decision::OtherInput(rule) => ("unknown", Some(rule), other.to_owned()),
    };
    Some(ShadowVerdict {
        verdict,
        rule,
        cause: text::line(cause.as_bytes(), CAUSE),
        policy: shadow.digest().to_owned(),
    })
}

fn definition<'a>(policy: &'a Policy, call: &Call) -> Option<&'a Command> {
    policy.command(call.named()?).map(AsRef::as_ref)
}

fn takes_plan(command: Option<&Command>) -> bool {
    command.is_some_and(|command| command.stdin == Stdin::Plan)
}

fn takes_secret(command: Option<&Command>) -> bool {
    let mut params = command.iter().flat_map(|command| &command.params);
    params.any(|param| matches!(param.kind, ParamKind::Secret { .. }))
}

impl Decision {
    /// `is_plan`: the policy in force takes the input of this command as a plan.
    fn of(policy: &Policy, floor: &Floor, sent: Sent<'_>, is_plan: bool) -> Self {
        let Sent { caller, call, args } = sent;
        let (names, has_stdin) = (call.env_names(), call.has_stdin());
        let mut args = args.to_vec();
        let ask = match call.ask(&names) {
            Ask::Command { name, effect, .. } => {
                policy.complete(caller, name, &mut args);
                let args = &args;
                Ask::Command { name, effect, args }
            }
            Ask::Commit { name, plan, .. } => {
                policy.complete(caller, name, &mut args);
                let args = &args;
                Ask::Commit { name, args, plan }
            }
            Ask::Paths { name, paths, .. } => {
                policy.complete(caller, name, &mut args);
                let args = &args;
                Ask::Paths { name, args, paths }
            }
            other @ (Ask::Run { .. } | Ask::Change { .. } | Ask::Try { .. }) => other,
        };
        let verdict = floor.decide(policy, caller, (&ask, call.effect()));
        let (terms, rule): (&Terms, String) = match &verdict {
            Verdict::Allow(grant) => (grant.terms(), grant.basis().to_string()),
            Verdict::Ask(pending) => (pending.terms(), pending.rule().to_string()),
            Verdict::Deny(_) => return Self::Verdict(verdict),
        };
        match terms.command() {
            Some(command) if takes_plan(Some(command)) != is_plan => Self::OtherInput(rule),
            Some(command) if command.bind(&args, has_stdin).is_err() => Self::WrongArguments(rule),
            Some(_) | None => Self::Verdict(verdict),
        }
    }

    /// Says in what this differs from the other one. Another rule or sentence is no difference.
    fn other_than(&self, other: &Self) -> Option<&'static str> {
        let terms = |a: &Terms, b: &Terms| a.other_than(b);
        match (self, other) {
            (Self::OtherInput(_), _) => {
                Some("only one of the policies takes a plan on standard input")
            }
            (Self::Verdict(Verdict::Allow(a)), Self::Verdict(Verdict::Allow(b))) => {
                terms(a.terms(), b.terms())
            }
            (Self::Verdict(Verdict::Ask(a)), Self::Verdict(Verdict::Ask(b))) => {
                let is_same = a.approval() == b.approval();
                (!is_same)
                    .then_some("another approval")
                    .or_else(|| terms(a.terms(), b.terms()))
            }
            (Self::Verdict(Verdict::Ask(_)), _) => Some("an approval"),
            (Self::Verdict(Verdict::Allow(_)), _) => Some("no approval"),
            (a, b) if a.refuses() && b.refuses() => None,
            (Self::WrongArguments(_), _) => Some("the command takes other arguments"),
            (Self::Verdict(Verdict::Deny(_)), _) => Some("a refusal"),
        }
    }

    fn refuses(&self) -> bool {
        matches!(
            self,
            Self::Verdict(Verdict::Deny(_)) | Self::WrongArguments(_)
        )
    }
}

#[cfg(test)]
mod tests {
    use remit_common::wire::Purpose;
    use remit_policy::{MachineTable, Source};

    use super::*;
    use crate::request::fixture::{named, spec};

    const SECRET: &str = "hunter2";
    const COMMIT: &str = "argv = [\"/usr/libexec/remit/remit-commit\", \"commit\", \"/var/lib/remit/commits\"]\n\
                          profile = \"host\"\nstdin = \"plan\"\n";
    const ASKS: &str = "approval = { by = [\"#1001\"] }\n";

    fn policy(command: &str, grant: &str) -> Policy {
        let text = format!(
            "[[command]]\nname = \"site.x\"\nsummary = \"x\"\neffect = \"change\"\n{command}\n\
             [[grant]]\nto = [\"#1000\"]\nallow = [\"site.x\"]\nunconfined = true\n{grant}\n"
        );
        let source = Source {
            name: "p.toml".into(),
            text: text.into(),
        };
        let made = remit_policy_compile::load(&[source], &MachineTable::default());
        made.unwrap_or_else(|why| panic!("{command}\n{why:?}")).0
    }

    fn plain(args: &str) -> String {
        format!("argv = [\"/usr/bin/true\", \"{{v}}\"]\nprofile = \"strict\"\n{args}")
    }

    fn differs(live: &Policy, shadow: &Policy, args: &[(&str, &str)]) -> Option<String> {
        let purpose = Purpose::Change {
            reason: "a test".to_owned(),
        };
        let mut call = Call::new(spec(named("site.x", args), purpose), Vec::new()).unwrap();
        let sent = call.args().to_vec();
        let caller = CallerIds {
            uid: 1000,
            gids: &[],
        };
        call.complete(live, caller);
        let sent = Sent {
            caller,
            call: &call,
            args: &sent,
        };
        let found = difference([live, shadow], &Floor::Off, sent)?;
        Some(format!("{} {}", found.verdict, found.cause))
    }

    #[test]
    fn each_policy_completes_arguments_by_its_own_types() {
        let unit = plain("args.v = { type = \"unit\" }\n");
        let word = plain(
            "args.v = { type = \"enum\", values = [\"nginx\"] }\naccepts = [{ v = \"nginx\" }]\nrejects = [{ v = \"x\" }]\n",
        );
        let [unit, word] = [unit, word].map(|command| policy(&command, ASKS));
        let asked = [("v", "nginx")];
        assert_eq!(differs(&unit, &word, &asked), None);
        assert_eq!(differs(&word, &unit, &asked), None);
        let other = differs(&unit, &word, &[("v", "cron")]);
        let why = "deny the command takes other arguments";
        assert_eq!(other.as_deref(), Some(why));
    }

    #[test]
    fn secret_of_the_other_policy_is_in_no_reason() {
        let then = "args.then = { type = \"secret\", max = 64 }\n";
        let live = format!(
            "argv = [\"/usr/bin/cat\"]\nprofile = \"strict\"\nstdin = \"{{then}}\"\n{then}"
        );
        let act = "\n[type.act]\ntype = \"string\"\npattern = \"[a-z0-9 =.]+\"\nmax = 64\n";
        let shadow = COMMIT.replace("commits\"]", "commits\", [\"--then\", \"{then}\"]]")
            + "args.then = { type = \"act\", repeat = 4, optional = true }\n\
               accepts = [{}]\nrejects = [{ then = \"A\" }]\n"
            + act;
        let (live, shadow) = (policy(&live, ASKS), policy(&shadow, ASKS));
        for args in [&[("then", SECRET)][..], &[("then", "hunter2 x=hunter2")]] {
            let found = differs(&live, &shadow, args).expect("the shadow policy refuses");
            assert!(!found.contains("hunter"), "{found}");
        }
    }

    #[test]
    fn input_that_only_one_policy_takes_as_a_plan_is_not_judged() {
        let (plain, commit) = (
            policy("argv = [\"/usr/bin/true\"]\nprofile = \"strict\"\n", ASKS),
            policy(COMMIT, ASKS),
        );
        let unknown = "unknown only one of the policies takes a plan on standard input";
        assert_eq!(differs(&plain, &commit, &[]).as_deref(), Some(unknown));
        assert_eq!(differs(&commit, &plain, &[]).as_deref(), Some(unknown));
        assert_eq!(differs(&commit, &commit, &[]), None);
    }

    #[test]
    fn approval_and_profile_differ_and_rules_do_not() {
        let command = "argv = [\"/usr/bin/true\"]\n";
        let of = |profile: &str, grant: &str| {
            policy(&format!("{command}profile = \"{profile}\"\n"), grant)
        };
        let asks = of("strict", ASKS);
        assert_eq!(differs(&asks, &of("strict", ASKS), &[]), None);
        assert_eq!(
            differs(&asks, &of("read", ASKS), &[]).as_deref(),
            Some("ask another profile: needs approval by #1001, asked for at most 10 min")
        );
        let two = "approval = { by = [\"#1001\", \"#1002\"], count = 2 }\n";
        let found = differs(&asks, &of("strict", two), &[]).unwrap();
        assert!(
            found.starts_with("ask another approval: needs approval by 2"),
            "{found}"
        );
        let none = of("strict", "effect = \"change\"\napproval = \"none\"\n");
        assert_eq!(
            differs(&asks, &none, &[]).as_deref(),
            Some("allow no approval")
        );
        let found = differs(&none, &asks, &[]).unwrap();
        assert!(found.starts_with("ask an approval: needs"), "{found}");
    }
}
