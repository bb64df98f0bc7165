//! Rules about calls with certain arguments: verdicts, and what a refusal reveals.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod common;

use common::{accounts, lines, source};
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::Effect;
use remit_policy::{Ask, CallerIds, Policy, Verdict};
use remit_policy_compile::{explain, load};

const COMMANDS: &str = "
[[command]]
name = 'unit.restart'
summary = 'Restart units'
argv = ['/bin/x', '{unit}', '{how}', ['-f', '{force}'], '{tag}']
effect = 'change'
profile = 'strict'
args.unit = { type = 'unit', repeat = 3 }
args.how = { type = 'enum', values = ['soft', 'hard'], default = 'soft' }
args.force = { type = 'bool', flag = '-y', optional = true }
args.tag = { type = 'string', optional = true }

[[command]]
name = 'unit.clean'
summary = 'Clean'
argv = ['/bin/y']
effect = 'change'
profile = 'strict'
";

const OPS: CallerIds<'_> = CallerIds {
    uid: 64001,
    gids: &[901],
};
const STRANGER: CallerIds<'_> = CallerIds {
    uid: 64003,
    gids: &[100],
};

fn with(rules: &str) -> Policy {
    let sources = [source("0.toml", COMMANDS), source("a.toml", rules)];
    match load(&sources, &accounts()) {
        Ok((policy, _)) => policy,
        Err(found) => panic!("{}", lines(&found)),
    }
}

fn decide(policy: &Policy, caller: CallerIds<'_>, name: &str, args: &[(&str, &str)]) -> Verdict {
    let args: Vec<_> = args
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let ask = Ask::Command {
        name,
        effect: Effect::Change,
        args: &args,
    };
    let verdict = policy.decide(caller, &ask);
    assert_eq!(explain(policy, caller, &ask).verdict, verdict);
    verdict
}

fn outcome(policy: &Policy, args: &[(&str, &str)]) -> String {
    match decide(policy, OPS, "unit.restart", args) {
        Verdict::Allow(_) => "allow".into(),
        Verdict::Ask(_) => "ask".into(),
        Verdict::Deny(denial) => denial.what,
    }
}

fn rule(args: &str) -> String {
    format!(
        "[[grant]]\nto = ['%ops']\nallow = ['unit.*']\neffect = 'change'\nargs = {{ {args} }}\n"
    )
}

#[test]
fn grant_matches_effective_argument_values() {
    let units = "unit = ['nginx.service', 'php*.service']";
    let policy = with(&rule(units));
    let others = "'unit.restart' is granted only with unit: nginx.service, php*.service";
    let missing = "unit.restart needs the argument 'unit'";
    for (args, expect) in [
        (&[("unit", "nginx.service")][..], "allow"),
        (&[("unit", "php8.2-fpm.service"), ("how", "hard")], "allow"),
        (
            &[("unit", "nginx.service"), ("unit", "php.service")],
            "allow",
        ),
        // All values of an argument must match, not only one.
        (&[("unit", "nginx.service"), ("unit", "db.service")], others),
        (&[("unit", "db.service"), ("unit", "nginx.service")], others),
        // No rule is about these: they are refused as if everything were granted.
        (&[], missing),
        (&[("how", "hard")], missing),
        (&[("tag", "nginx.service")], missing),
        (
            &[("Unit", "nginx.service")],
            "unit.restart has no argument 'Unit'",
        ),
        (
            &[("uint", "nginx.service")],
            "unit.restart has no argument 'uint'",
        ),
        (
            &[("unit", "db.service"), ("uint", "x")],
            "unit.restart has no argument 'uint'",
        ),
        // A part of a value, or another spelling does not match.
        (&[("unit", "nginx")], others),
        (&[("unit", "NGINX.service")], others),
        (&[("unit", "nginx.service ")], others),
        (&[("unit", "xnginx.service")], others),
        // The unknown argument is refused when it is bound.
        (&[("unit", "nginx.service"), ("uint", "x")], "allow"),
    ] {
        assert_eq!(outcome(&policy, args), expect, "{args:?}");
    }
    let unit = ("unit", "a.service");
    let soft = with(&rule("how = ['soft'], force = ['false']"));
    let others = "'unit.restart' is granted only with force: false; how: soft";
    for (args, expect) in [
        (&[unit][..], "allow"),
        (&[unit, ("how", "soft"), ("force", "false")], "allow"),
        (&[unit, ("how", "hard")], others),
        (&[unit, ("force", "true")], others),
    ] {
        assert_eq!(outcome(&soft, args), expect, "{args:?}");
    }
    assert_eq!(
        outcome(&with(&rule("tag = ['*']")), &[unit]),
        "'unit.restart' is granted only with tag: *"
    );
}

#[test]
fn one_more_value_takes_no_approval_away() {
    let careful = "unit = ['db*', 'mail.service']";
    let approval = "approval = { by = ['%ops'] }\n";
    let policy = with(&format!(
        "{}{}{approval}",
        rule("how = ['soft', 'hard']"),
        rule(careful)
    ));
    let others = "'unit.restart' is granted only with unit: db*, mail.service";
    for (args, expect) in [
        (&[("unit", "db.service")][..], "ask"),
        (&[("unit", "db.service"), ("unit", "web.service")], "ask"),
        (&[("unit", "web.service"), ("unit", "db.service")], "ask"),
        // An instance of a template, too.
        (&[("unit", "db@x.service")], "ask"),
        (&[("unit", "web.service")], "allow"),
    ] {
        assert_eq!(outcome(&policy, args), expect, "{args:?}");
    }
    // What a rule allows is all values, and no instance.
    let alone = with(&format!("{}{approval}", rule(careful)));
    for (args, expect) in [
        (&[("unit", "db.service")][..], "ask"),
        (&[("unit", "db.service"), ("unit", "web.service")], others),
        (&[("unit", "db@x.service")], others),
    ] {
        assert_eq!(outcome(&alone, args), expect, "{args:?}");
    }
}

#[test]
fn a_denial_is_about_any_of_the_values() {
    let policy = with(
        "[[grant]]\nto = ['%ops']\nallow = ['unit.*']\neffect = 'change'\n\
         [[deny]]\nname = 'no-db'\nto = ['%ops']\ndeny = ['unit.restart']\n\
         args = { unit = ['db*'], how = ['hard'] }",
    );
    let denied = "'unit.restart' is denied by rule no-db (a.toml:5)";
    for (args, expect) in [
        (&[("unit", "db.service"), ("how", "hard")][..], denied),
        (
            &[
                ("unit", "a.service"),
                ("unit", "db.service"),
                ("how", "hard"),
            ],
            denied,
        ),
        (&[("unit", "db.service")], "allow"),
        (&[("unit", "a.service"), ("how", "hard")], "allow"),
    ] {
        assert_eq!(outcome(&policy, args), expect, "{args:?}");
    }
}

#[test]
fn strictest_covering_rule_decides() {
    let ask = "approval = { by = ['%remit'] }\n";
    let policy = with(
        &(rule("unit = ['nginx.service', 'db.service']") + &rule("unit = ['db.service']") + ask),
    );
    for (unit, expect) in [("nginx.service", "allow"), ("db.service", "ask")] {
        assert_eq!(outcome(&policy, &[("unit", unit)]), expect);
    }
    let why = outcome(&policy, &[("unit", "a.service")]);
    assert_eq!(
        why,
        "'unit.restart' is granted only with unit: db.service, or unit: db.service, nginx.service"
    );
    let Verdict::Deny(denial) = decide(&policy, OPS, "unit.restart", &[("unit", "a.service")])
    else {
        panic!("it is not granted");
    };
    assert_eq!(
        denial.lift.as_deref(),
        Some("more in 'args' of the [[grant]] at a.toml:6, or a.toml:1")
    );
    let access = policy.access(OPS);
    let shown: Vec<String> = access
        .commands
        .iter()
        .map(|one| {
            let approval = if one.approval.is_some() {
                "ask"
            } else {
                "allow"
            };
            format!("{} {approval} {}", one.named.name(), one.scope().unwrap())
        })
        .collect();
    assert_eq!(
        shown,
        [
            "unit.restart ask only with unit: db.service",
            "unit.restart allow only with unit: db.service, nginx.service",
        ]
    );
    let allow: Vec<_> = access
        .grants
        .iter()
        .map(|view| view.allow.join(" "))
        .collect();
    assert_eq!(
        allow,
        [
            "unit.restart (only with unit: db.service)",
            "unit.restart (only with unit: db.service, nginx.service)",
        ]
    );
}

/// The refusal equals that of a command that does not exist, byte for byte.
#[test]
fn caller_without_grant_learns_no_arguments() {
    let rules = rule("unit = ['nginx.service']")
        + "[[deny]]\nto = ['mallory']\ndeny = ['unit.restart']\nargs = { unit = ['db.service'] }\n";
    let policy = with(&rules);
    let none = |name: &str| Refusal::no_such_command(name);
    for args in [
        &[("unit", "nginx.service")][..],
        &[("unit", "db.service")],
        &[],
        &[("uint", "x")],
    ] {
        let cases = [
            (STRANGER, "unit.restart"),
            (STRANGER, "unit.none"),
            (OPS, "unit.none"),
            (OPS, "unit.clean"),
        ];
        for (caller, name) in cases {
            let Verdict::Deny(denial) = decide(&policy, caller, name, args) else {
                panic!("{name} {args:?}");
            };
            assert_eq!(Refusal::from(denial), none(name));
        }
    }
    // A caller with a grant for other arguments knows the command, and only these arguments.
    let Verdict::Deny(denial) = decide(&policy, OPS, "unit.restart", &[("unit", "db.service")])
    else {
        panic!("it is not granted");
    };
    assert_eq!(denial.code, Code::DeniedRule);
    assert_eq!(denial.rule.unwrap().line, 1);
    assert!(denial.lift.unwrap().contains("a.toml:1"));
    // Nor does more in that rule help where an argument is misspelt or missing.
    for (args, object) in [(&[("uint", "x")][..], "uint"), (&[], "unit")] {
        let Verdict::Deny(denial) = decide(&policy, OPS, "unit.restart", args) else {
            panic!("it is granted with {args:?}");
        };
        assert_eq!(denial.code, Code::InvalidArgs, "{args:?}");
        assert_eq!(denial.object.as_deref(), Some(object));
        assert_eq!((denial.rule, denial.lift), (None, None));
        assert_eq!(
            denial.next,
            "arguments of unit.restart: force, how, tag, unit"
        );
    }
}

/// The record of a call has no secret, and a replay of it none to ask with.
#[test]
fn missing_secret_is_not_why_a_call_is_not_granted() {
    let command = "[[command]]\nname = 'unit.join'\nsummary = 'x'\nargv = ['/bin/x', '{unit}', '{key}']\n\
                   effect = 'change'\nprofile = 'strict'\nargs.unit = { type = 'unit' }\nargs.key = { type = 'secret' }\n";
    let policy = with(&(command.to_owned() + &rule("unit = ['nginx.service']")));
    for (args, expect) in [
        (
            &[("unit", "db.service")][..],
            "'unit.join' is granted only with unit: nginx.service",
        ),
        (&[], "unit.join needs the argument 'unit'"),
        (
            &[("key", "12345678")],
            "unit.join needs the argument 'unit'",
        ),
    ] {
        let Verdict::Deny(denial) = decide(&policy, OPS, "unit.join", args) else {
            panic!("it is granted with {args:?}");
        };
        assert_eq!(denial.what, expect, "{args:?}");
    }
}

#[test]
fn explain_tells_which_arguments_a_rule_is_about() {
    let policy = with(
        &(rule("unit = ['nginx.service']")
            + "[[deny]]\nto = ['%ops']\ndeny = ['unit.restart']\nargs = { unit = ['db.service'] }\n"),
    );
    let args = [("unit".to_owned(), "a.service".to_owned())];
    let ask = Ask::Command {
        name: "unit.restart",
        effect: Effect::Change,
        args: &args,
    };
    let explanation = explain(&policy, OPS, &ask);
    let outcome: Vec<String> = explanation
        .considered
        .into_iter()
        .map(|(_, why)| why)
        .collect();
    assert_eq!(
        outcome,
        [
            "denies 'unit.restart' only with unit: db.service",
            "allows 'unit.restart' only with unit: nginx.service",
        ]
    );
    let unit =
        "unit.restart has no argument 'units'; arguments of unit.restart: force, how, tag, unit";
    let run = "'unit.clean' changes the host, and this asks for one that does not; ask for 'change unit.clean' instead";
    let policy = with(&(rule("unit = ['nginx.service']") + &rule("").replace("args = {  }\n", "")));
    let narrow = with(&rule("unit = ['nginx.service']"));
    let args = [("units".to_owned(), "nginx.service".to_owned())];
    for (policy, name, effect, args, expect) in [
        (&narrow, "unit.restart", Effect::Change, &args[..], unit),
        (&policy, "unit.clean", Effect::Read, &[], run),
    ] {
        let why = explain(policy, OPS, &Ask::Command { name, effect, args }).why;
        assert!(why.ends_with(expect), "{why}");
    }
}

#[test]
fn the_tests_of_a_policy_have_arguments() {
    let test = |what: &str, verdict: &str| {
        let rules = rule("unit = ['nginx.service']");
        let test = format!("[[test]]\nwho = '%ops'\nwhat = '{what}'\nverdict = '{verdict}'\n");
        let sources = [source("0.toml", COMMANDS), source("a.toml", rules + &test)];
        load(&sources, &accounts())
            .map(|_| ())
            .map_err(|found| lines(&found))
    };
    assert_eq!(
        test("change unit.restart unit=nginx.service", "allow"),
        Ok(())
    );
    assert_eq!(test("change unit.restart unit=db.service", "deny"), Ok(()));
    let found = test("change unit.restart unit=db.service", "allow").unwrap_err();
    assert!(found.contains("expected allow, got deny: 'unit.restart' is granted only with"));
    let misspelt = "change unit.restart units=nginx.service";
    let found = test(misspelt, "deny").unwrap_err();
    assert!(found.contains("this is denied whatever the rules are: unit.restart has no argument"));
    let found = test(misspelt, "allow").unwrap_err();
    assert!(found.contains("got deny: unit.restart has no argument 'units'"));
}
