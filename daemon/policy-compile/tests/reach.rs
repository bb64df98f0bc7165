//! The reach of a rule's patterns: which commands a pattern of names includes, and which spellings of a package a
//! pattern of values includes. Each test has the number of its finding.
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

fn loaded(files: &[(&str, &str)]) -> Result<(Policy, String), String> {
    let sources: Vec<_> = files
        .iter()
        .map(|(name, text)| source(name, text))
        .collect();
    match load(&sources, &accounts()) {
        Ok((policy, warnings)) => Ok((policy, lines(&warnings))),
        Err(found) => Err(lines(&found)),
    }
}

fn may(policy: &Policy, name: &str) -> bool {
    matches!(verdict(policy, name, Effect::Read, &[]), Verdict::Allow(_))
}

fn looks(name: &str, profile: &str) -> String {
    format!(
        "[[command]]\nname = '{name}'\nsummary = 'x'\nargv = ['/bin/x']\neffect = 'read'\nprofile = 'sees'\n\
         [profile.sees]\n{profile}\n"
    )
}

const PATTERN: &str = "[[grant]]\nname = 'looks'\nto = ['%remit']\nallow = ['users.*']\n";

#[test]
fn q04_pattern_excludes_stronger_commands_of_other_files() {
    for profile in [
        "base = 'strict'\nuser = 'root'\ncapabilities = ['CAP_DAC_READ_SEARCH']\nread = ['/etc/shadow']",
        "base = 'strict'\nwrite = ['/srv/log']",
        "base = 'read'\nwrite = ['/srv/log']",
        "base = 'strict'\nsockets = ['/run/x.sock']\nleads_to_root = true",
        "base = 'strict'\nnetwork = 'host'",
        "base = 'strict'\ngroups = ['ops']",
        "base = 'strict'\nread = ['/srv/site']",
    ] {
        let command = looks("users.hashes", profile);
        let two = |rule: &str| loaded(&[("10.toml", rule), ("60.toml", &command)]);
        let (policy, said) = two(PATTERN).unwrap();
        assert!(!may(&policy, "users.hashes"), "{profile}");
        assert!(said.contains("does not allow users.hashes"), "{said}");
        let (policy, said) = two(&format!("{PATTERN}effect = 'read'\n")).unwrap();
        assert!(!may(&policy, "users.hashes"), "{profile}");
        assert!(
            said.contains("write in 'allow': \"users.hashes\""),
            "{said}"
        );
        // Three ways to include it: its name, the rule's effect, one file with both.
        let named = PATTERN.replace("'users.*'", "'users.*', 'users.hashes'");
        let (policy, said) = two(&named).unwrap();
        assert!(may(&policy, "users.hashes"), "{profile}");
        assert!(!said.contains("does not allow"), "{said}");
        let (policy, _) = two(&format!("{PATTERN}effect = 'change'\n")).unwrap();
        assert!(may(&policy, "users.hashes"), "{profile}");
        let (policy, said) = loaded(&[("60.toml", &format!("{PATTERN}{command}"))]).unwrap();
        assert!(may(&policy, "users.hashes"), "{profile}");
        assert!(!said.contains("does not allow"), "{said}");
    }
}

#[test]
fn q04_pattern_allows_what_sees_no_more_than_read() {
    for profile in [
        "base = 'read'",
        "base = 'strict'",
        "base = 'strict'\nscratch = ['/work']",
    ] {
        let command = looks("users.list", profile);
        let (policy, said) = loaded(&[("10.toml", PATTERN), ("60.toml", &command)]).unwrap();
        assert!(may(&policy, "users.list"), "{profile}");
        assert!(!said.contains("does not allow"), "{said}");
    }
}

#[test]
fn q04_command_with_own_rule_needs_approval() {
    let command = looks(
        "users.hashes",
        "base = 'strict'\nuser = 'root'\nread = ['/etc/shadow']",
    );
    let own = format!(
        "{command}[[grant]]\nto = ['%remit']\nallow = ['users.hashes']\napproval = {{ by = ['%ops'] }}\n"
    );
    let (policy, said) = loaded(&[("10.toml", PATTERN), ("60.toml", &own)]).unwrap();
    let verdict = verdict(&policy, "users.hashes", Effect::Read, &[]);
    assert!(matches!(verdict, Verdict::Ask(_)), "{verdict:?}");
    assert!(!said.contains("does not allow"), "{said}");
}

#[test]
fn q04_approval_of_pattern_does_not_lapse_silently() {
    let command = looks(
        "users.hashes",
        "base = 'strict'\nuser = 'root'\nread = ['/etc/shadow']",
    );
    let own = format!("{command}[[grant]]\nto = ['%remit']\nallow = ['users.hashes']\n");
    let asks = format!("{PATTERN}approval = {{ by = ['%ops'] }}\n");
    let why = loaded(&[("10.toml", &asks), ("60.toml", &own)]).unwrap_err();
    assert!(
        why.contains("does not ask for an approval of users.hashes"),
        "{why}"
    );
    assert!(why.contains("write the name whole"), "{why}");
}

fn packages(more: &str) -> Policy {
    let text = format!(
        "[[command]]\nname = 'package.install'\nsummary = 'x'\nargv = ['/bin/x', '{{packages}}']\neffect = 'change'\n\
         profile = 'strict'\nargs.packages = {{ type = 'package', repeat = 8 }}\n\
         [[grant]]\nname = 'general'\nto = ['%remit']\nallow = ['package.install']\napproval = {{ by = ['%ops'] }}\n{more}"
    );
    loaded(&[("a.toml", &text)]).unwrap().0
}

#[test]
fn q05_denial_of_a_package_denies_every_spelling() {
    let policy = packages(
        "[[deny]]\nname = 'no-audit'\nto = ['%remit']\ndeny = ['package.install']\nargs = { packages = ['auditd'] }\n",
    );
    let is_denied = |value: &str| {
        let args = [("packages", "hello"), ("packages", value)];
        let verdict = verdict(&policy, "package.install", Effect::Change, &args);
        matches!(verdict, Verdict::Deny(_))
    };
    for value in ["auditd", "auditd:amd64", "auditd.x86_64", "auditd.noarch"] {
        assert!(is_denied(value), "{value}");
    }
    for value in ["auditd-plugins", "auditd2", "hello"] {
        assert!(!is_denied(value), "{value}");
    }
}

#[test]
fn q05_stricter_approver_applies_to_every_spelling() {
    let policy = packages(
        "[[grant]]\nname = 'tls'\nto = ['%remit']\nallow = ['package.install']\nargs = { packages = ['openssl'] }\n\
         approval = { by = ['deploy'] }\n",
    );
    let approvers = |value: &str| match verdict(
        &policy,
        "package.install",
        Effect::Change,
        &[("packages", value)],
    ) {
        Verdict::Ask(pending) => format!("{pending:?}"),
        other => panic!("{other:?}"),
    };
    for value in ["openssl", "openssl:amd64", "openssl.x86_64"] {
        assert!(
            approvers(value).contains("\"deploy\""),
            "{value}: {}",
            approvers(value)
        );
    }
    assert!(!approvers("openssl-dev").contains("\"deploy\""));
}

#[test]
fn q05_grant_without_approval_matches_its_spelling() {
    let text = "[[command]]\nname = 'package.install'\nsummary = 'x'\nargv = ['/bin/x', '{packages}']\n\
                effect = 'change'\nprofile = 'strict'\nargs.packages = { type = 'package' }\n\
                [[grant]]\nto = ['%remit']\nallow = ['package.install']\nargs = { packages = ['hello'] }\n";
    let (policy, _) = loaded(&[("a.toml", text)]).unwrap();
    for (value, expect) in [("hello", true), ("hello:i386", false)] {
        let verdict = verdict(
            &policy,
            "package.install",
            Effect::Change,
            &[("packages", value)],
        );
        assert_eq!(matches!(verdict, Verdict::Allow(_)), expect, "{value}");
    }
}
