//! Commands of effect read that run in base host: root without a sandbox, by fixed words. Nobody gets one by a pattern,
//! by a rule for commands that look, or without a rule that says `unconfined = true` or asks a person.
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

const COMMAND: &str = "[[command]]\nname = 'firewall.rules'\nsummary = 'x'\nargv = ['/bin/x', '{unit}']\n\
                       effect = 'read'\nprofile = 'host'\nargs.unit = { type = 'unit', default = 'a.service' }\n";

fn with(rule: &str) -> Result<(Policy, String), String> {
    let rule = format!("[[grant]]\nto = ['%remit']\n{rule}\n");
    match load(
        &[source("10.toml", COMMAND), source("60.toml", rule)],
        &accounts(),
    ) {
        Ok((policy, warnings)) => Ok((policy, lines(&warnings))),
        Err(found) => Err(lines(&found)),
    }
}

#[test]
fn unconfined_look_needs_its_name_and_a_word() {
    let asks = "approval = { by = ['%ops'] }";
    for (rule, expect) in [
        ("allow = ['firewall.rules']\nunconfined = true", "allow"),
        (
            "allow = ['firewall.rules']\neffect = 'read'\nunconfined = true",
            "allow",
        ),
        (
            "allow = ['firewall.*']\neffect = 'change'\nunconfined = true",
            "allow",
        ),
        (&format!("allow = ['firewall.rules']\n{asks}"), "ask"),
        ("allow = ['firewall.rules']", "refused"),
        ("allow = ['firewall.rules']\neffect = 'read'", "refused"),
        ("allow = ['firewall.rules']\napproval = 'none'", "refused"),
        ("allow = ['firewall.*']\neffect = 'change'", "refused"),
        ("allow = ['firewall.*']", "deny"),
        ("allow = ['firewall.*']\nunconfined = true", "deny"),
        ("allow = ['*']\neffect = 'read'", "deny"),
        ("allow = ['*']\neffect = 'read'\nunconfined = true", "deny"),
        (&format!("allow = ['*']\n{asks}"), "deny"),
        ("allow = ['run']\nunconfined = true", "deny"),
    ] {
        let found = match with(rule) {
            Err(why) => {
                assert!(why.contains("would run without sandbox"), "{rule}: {why}");
                "refused"
            }
            Ok((policy, _)) => match verdict(&policy, "firewall.rules", Effect::Read, &[]) {
                Verdict::Allow(_) => "allow",
                Verdict::Ask(_) => "ask",
                Verdict::Deny(_) => "deny",
            },
        };
        assert_eq!(found, expect, "{rule}");
    }
}

#[test]
fn pattern_of_the_same_file_does_not_reach_it() {
    let text =
        format!("{COMMAND}[[grant]]\nto = ['%remit']\nallow = ['firewall.*']\nunconfined = true\n");
    let (policy, said) = load(&[source("a.toml", text)], &accounts()).unwrap();
    let found = verdict(&policy, "firewall.rules", Effect::Read, &[]);
    assert!(matches!(found, Verdict::Deny(_)), "{found:?}");
    let said = lines(&said);
    assert!(
        said.contains("a pattern allows no command without a sandbox"),
        "{said}"
    );
}

#[test]
fn pattern_that_asks_does_not_lapse_silently() {
    let text = format!(
        "{COMMAND}[[grant]]\nto = ['%remit']\nallow = ['firewall.*']\napproval = {{ by = ['%ops'] }}\n\
         [[grant]]\nto = ['%remit']\nallow = ['firewall.rules']\nunconfined = true\n"
    );
    let why = lines(&load(&[source("a.toml", text)], &accounts()).unwrap_err());
    assert!(
        why.contains("does not ask for an approval of firewall.rules"),
        "{why}"
    );
}

#[test]
fn it_takes_no_protected_unit_and_no_free_text() {
    let (policy, _) = with("allow = ['firewall.rules']\nunconfined = true").unwrap();
    let command = policy.command("firewall.rules").unwrap();
    let bound = |unit: &str| command.bind(&[("unit".to_owned(), unit.to_owned())], false);
    assert!(bound("nginx.service").is_ok());
    let why = bound("ssh.service").unwrap_err().message;
    assert!(
        why.contains("no command without a sandbox may name"),
        "{why}"
    );
    for kind in [
        "type = 'string'",
        "type = 'path', under = '/srv'",
        "type = 'secret'",
    ] {
        let text = COMMAND.replace("type = 'unit', default = 'a.service'", kind);
        let why = lines(&load(&[source("a.toml", text)], &accounts()).unwrap_err());
        assert!(
            why.contains("which no command in the profile 'host' can have"),
            "{why}"
        );
    }
    let text = format!("{COMMAND}stdin = 'caller'\n");
    assert!(load(&[source("a.toml", text)], &accounts()).is_err());
}

#[test]
fn asking_for_a_change_names_the_right_word() {
    let (policy, _) = with("allow = ['firewall.rules']\nunconfined = true").unwrap();
    let Verdict::Deny(denial) = verdict(&policy, "firewall.rules", Effect::Change, &[]) else {
        panic!("allowed");
    };
    assert!(denial.next.contains("call run"), "{denial:?}");
}

/// A table of an older file asks by `change`. It is judged as the call of today, so a `deny` still proves something.
#[test]
fn older_test_tables_are_judged_as_run() {
    let test = |rule: &str, expect: &str| {
        with(&format!(
            "{rule}\n[[test]]\nwho = '%remit'\nwhat = 'change firewall.rules'\nverdict = '{expect}'"
        ))
    };
    let granted = "allow = ['firewall.rules']\nunconfined = true";
    let (_, said) = test(granted, "allow").unwrap();
    assert!(
        said.contains("write what = \"run firewall.rules\""),
        "{said}"
    );
    let why = test(granted, "deny").unwrap_err();
    assert!(why.contains("expected deny, got allow"), "{why}");
    assert!(test("allow = ['run']", "deny").is_ok());
}
