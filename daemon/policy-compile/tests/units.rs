//! Rules about units of remit's own commands: `logs` and `service.status`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod common;

use common::{accounts, lines, source, verdict};
use remit_common::wire::Effect;
use remit_policy::{Policy, Verdict};
use remit_policy_compile::load;

fn loaded(text: &str) -> Result<(Policy, String), String> {
    match load(&[source("a.toml", text)], &accounts()) {
        Ok((policy, warnings)) => Ok((policy, lines(&warnings))),
        Err(found) => Err(lines(&found)),
    }
}

fn with(rules: &str) -> Policy {
    loaded(rules).unwrap().0
}

fn answer(policy: &Policy, name: &str, args: &[(&str, &str)]) -> &'static str {
    match verdict(policy, name, Effect::Read, args) {
        Verdict::Allow(_) => "allow",
        Verdict::Ask(_) => "ask",
        Verdict::Deny(_) => "deny",
    }
}

const GRANT: &str = "[[grant]]\nto = ['%remit']\nallow = ['logs', 'service.status']\n\
                     args = { unit = ['nginx.service', 'php*.service'] }\n";

#[test]
fn grant_covers_calls_about_its_units_only() {
    let policy = with(GRANT);
    for (name, args, expect) in [
        ("logs", &[("unit", "nginx.service")][..], "allow"),
        ("logs", &[("unit", "nginx")], "allow"),
        ("logs", &[("unit", "nginx"), ("lines", "5")], "allow"),
        ("service.status", &[("unit", "php8.2-fpm")], "allow"),
        ("logs", &[], "deny"),
        ("logs", &[("lines", "5")], "deny"),
        ("logs", &[("unit", "ssh")], "deny"),
        ("logs", &[("unit", "nginx.socket")], "deny"),
        ("logs", &[("unit", "php@x.service")], "deny"),
        ("logs", &[("unit", "nginx*")], "deny"),
        ("logs", &[("unit", "nginx"), ("unit", "ssh")], "deny"),
        ("logs", &[("unit", "nginx"), ("other", "x")], "deny"),
        ("service.list", &[], "deny"),
        ("service.failed", &[], "deny"),
    ] {
        assert_eq!(answer(&policy, name, args), expect, "{name} {args:?}");
    }
    let others = "'logs' is granted only with unit: nginx.service, php*.service";
    for (name, args, expect) in [
        ("logs", &[][..], others),
        ("logs", &[("unit", "ssh")], others),
        (
            "logs",
            &[("units", "nginx")],
            "argument 'units' of logs does not exist",
        ),
        (
            "logs",
            &[("unit", "nginx"), ("other", "x")],
            "argument 'other' of logs does not exist",
        ),
        (
            "service.status",
            &[],
            "argument 'unit' of service.status is missing",
        ),
    ] {
        let Verdict::Deny(denial) = verdict(&policy, name, Effect::Read, args) else {
            panic!("allowed");
        };
        assert_eq!(denial.what, expect, "{name} {args:?}");
    }
}

#[test]
fn denial_holds_for_calls_about_all_units() {
    let rules = "[[grant]]\nto = ['%remit']\nallow = ['run']\n\
                 [[deny]]\nto = ['%remit']\ndeny = ['logs', 'service.status']\nargs = { unit = ['ssh*'] }\n";
    let policy = with(rules);
    for (name, args, expect) in [
        ("logs", &[("unit", "ssh")][..], "deny"),
        ("logs", &[("unit", "ssh.socket")], "deny"),
        ("logs", &[], "deny"),
        ("logs", &[("grep", "sshd")], "deny"),
        ("logs", &[("unit", "nginx")], "allow"),
        ("service.status", &[("unit", "nginx")], "allow"),
        ("service.list", &[], "allow"),
    ] {
        assert_eq!(answer(&policy, name, args), expect, "{name} {args:?}");
    }
}

/// Before rules knew the units of these commands, no pattern and no `run` with `args` was about them. It stays so.
#[test]
fn rule_about_units_names_the_command_whole() {
    let unit = "[[command]]\nname = 'service.poke'\nsummary = 'x'\nargv = ['/bin/x', '{unit}']\neffect = 'read'\n\
                profile = 'read'\nargs.unit = { type = 'unit' }\n";
    let args = "args = { unit = ['nginx.service'] }\n";
    for allow in ["'*'", "'service.*', 'log*'", "'run', 'service.poke'"] {
        let policy = with(&format!(
            "{unit}[[grant]]\nto = ['%remit']\nallow = [{allow}]\n{args}"
        ));
        for name in ["logs", "service.status"] {
            let found = answer(&policy, name, &[("unit", "nginx.service")]);
            assert_eq!(found, "deny", "{allow} {name}");
        }
        assert_eq!(
            answer(&policy, "service.poke", &[("unit", "nginx.service")]),
            "allow"
        );
    }
}

#[test]
fn approval_is_asked_for_the_units_of_a_rule() {
    let rules = "[[grant]]\nto = ['%remit']\nallow = ['logs']\n\
                 [[grant]]\nto = ['%remit']\nallow = ['logs']\nargs = { unit = ['ssh.service'] }\n\
                 approval = { by = ['%ops'] }\n";
    let policy = with(rules);
    assert_eq!(answer(&policy, "logs", &[("unit", "ssh")]), "ask");
    assert_eq!(answer(&policy, "logs", &[("unit", "nginx")]), "allow");
}

#[test]
fn approval_is_asked_for_logs_that_show_its_units_among_others() {
    let rules = "[[grant]]\nto = ['%remit']\nallow = ['run', 'logs']\n\
                 [[grant]]\nto = ['%remit']\nallow = ['logs']\nargs = { unit = ['ssh.service'] }\n\
                 approval = { by = ['%ops'] }\n";
    let policy = with(rules);
    for args in [
        &[][..],
        &[("grep", "sshd")],
        &[("unit", "system.slice")],
        &[("unit", "init.scope")],
    ] {
        assert_eq!(answer(&policy, "logs", args), "ask", "{args:?}");
    }
    let alone = with(
        "[[grant]]\nto = ['%remit']\nallow = ['logs']\nargs = { unit = ['ssh.service'] }\n\
                      approval = { by = ['%ops'] }\n",
    );
    assert_eq!(answer(&alone, "logs", &[("unit", "ssh")]), "ask");
    for args in [&[][..], &[("unit", "system.slice")]] {
        assert_eq!(answer(&alone, "logs", args), "deny", "{args:?}");
    }
}

#[test]
fn glob_of_a_denial_includes_own_commands() {
    let restart = "[[command]]\nname = 'service.restart'\nsummary = 'Restart'\nargv = ['/bin/x', '{unit}']\n\
                   effect = 'read'\nprofile = 'strict'\nargs.unit = { type = 'unit' }\n\
                   [[grant]]\nto = ['%remit']\nallow = ['run', 'service.restart']\n";
    let rule = |table: &str, key: &str, glob: &str| {
        format!(
            "{restart}[[{table}]]\nto = ['%remit']\n{key} = ['{glob}']\nargs = {{ unit = ['vault.service'] }}\n"
        )
    };
    let denied = |glob: &str, name: &str, unit: &str| {
        let policy = with(&rule("deny", "deny", glob));
        answer(&policy, name, &[("unit", unit)]) == "deny"
    };
    for (glob, own) in [
        ("service.*", &["service.restart", "service.status"][..]),
        ("*", &["service.restart", "service.status", "logs"]),
        ("lo*", &["logs"]),
    ] {
        for name in ["service.restart", "service.status", "logs"] {
            assert_eq!(
                denied(glob, name, "vault.service"),
                own.contains(&name),
                "{glob} {name}"
            );
            assert!(!denied(glob, name, "nginx.service"), "{glob} {name}");
        }
    }
    let list = with(&rule("deny", "deny", "*"));
    assert_eq!(answer(&list, "service.list", &[]), "allow");
    // A grant includes them by their whole names only.
    let granted = rule("grant", "allow", "service.*").replace("'run', ", "");
    assert_eq!(
        answer(&with(&granted), "service.status", &[("unit", "vault")]),
        "deny"
    );
}

#[test]
fn slice_is_about_all_units_below_it() {
    let denial = with(
        "[[grant]]\nto = ['%remit']\nallow = ['run']\n\
                       [[deny]]\nto = ['%remit']\ndeny = ['logs', 'service.status']\n\
                       args = { unit = ['vault.service'] }\n",
    );
    let of = |units: &str| {
        with(&format!(
            "[[grant]]\nto = ['%remit']\nallow = ['logs', 'service.status']\nargs = {{ unit = [{units}] }}\n"
        ))
    };
    let (stars, slices) = (of("'*'"), of("'app*.slice', 'init.scope'"));
    for name in ["logs", "service.status"] {
        for (policy, unit, expect) in [
            (&denial, "vault.service", "deny"),
            (&denial, "system.slice", "deny"),
            (&denial, "init.scope", "deny"),
            (&denial, "nginx.service", "allow"),
            (&stars, "nginx.service", "allow"),
            (&stars, "system.slice", "deny"),
            (&stars, "init.scope", "deny"),
            (&slices, "app-web.slice", "allow"),
            (&slices, "system.slice", "deny"),
            (&slices, "init.scope", "allow"),
        ] {
            assert_eq!(
                answer(policy, name, &[("unit", unit)]),
                expect,
                "{name} {unit}"
            );
        }
    }
}

#[test]
fn values_and_arguments_that_cannot_be_are_refused() {
    let grant = |allow: &str, args: &str| {
        format!("[[grant]]\nto = ['%remit']\nallow = [{allow}]\nargs = {{ {args} }}\n")
    };
    for (allow, args, part) in [
        ("'logs'", "unit = ['nginx']", "'unit' is never 'nginx'"),
        (
            "'logs'",
            "units = ['nginx.service']",
            "did you mean 'unit'?",
        ),
        (
            "'logs'",
            "lines = ['5']",
            "no command of this rule has an argument 'lines'",
        ),
        (
            "'service.list'",
            "unit = ['a.service']",
            "no command of this rule",
        ),
        ("'run'", "unit = ['a.service']", "no command of this rule"),
        (
            "'lo*'",
            "unit = ['a.service']",
            "\"logs\", \"service.status\"",
        ),
    ] {
        let why = loaded(&grant(allow, args)).unwrap_err();
        assert!(why.contains(part), "{allow} {args}: {why}");
    }
}
