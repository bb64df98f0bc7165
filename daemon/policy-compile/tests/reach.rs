//! The reach of a rule's patterns: which commands a pattern of names includes, and which spellings of a package a
//! pattern of values includes. No pattern includes a command of base host: root without a sandbox, by fixed words. Such
//! a command needs its name and `unconfined = true`, or an approval. The number of a test is that of its finding.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod common;

use common::{accounts, lines, source, verdict};
use remit_common::inspect::{Inspect, LOOK};
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
    // Nor as a value of another type that a unit's name fits.
    for kind in ["user", "package"] {
        let unit = format!("type = '{kind}'");
        let text = COMMAND.replace("type = 'unit', default = 'a.service'", &unit);
        let (policy, _) = load(&[source("a.toml", text)], &accounts()).unwrap();
        let command = policy.command("firewall.rules").unwrap();
        let bound = |value: &str| command.bind(&[("unit".to_owned(), value.to_owned())], false);
        for (value, is_bound) in [
            ("nginx", true),
            ("nginx.service", true),
            ("ssh", true),
            ("python3.11", true),
            ("ssh.service", false),
            ("remitd.service", false),
            ("multi-user.target", false),
        ] {
            assert_eq!(bound(value).is_ok(), is_bound, "{kind} {value}");
        }
    }
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

fn inspects(program: &str, effect: &str, more: &str, inspect: &str) -> String {
    let (_, right) = Inspect::ALL
        .into_iter()
        .find(|(name, _)| *name == inspect)
        .unwrap();
    let word = right.commands()[0];
    format!(
        "[[command]]\nname = 'users.hashes'\nsummary = 'x'\nargv = ['{program}', '{word}']\neffect = '{effect}'\n\
         profile = 'sees'\n{more}\n[profile.sees]\nbase = 'read'\ninspect = '{inspect}'\n"
    )
}

#[test]
fn only_its_name_includes_a_command_that_inspects() {
    for inspect in ["names", "processes"] {
        let command = inspects(LOOK, "read", "", inspect);
        for rule in ["", "effect = 'change'\n", "unconfined = true\n"] {
            let (policy, _) = loaded(&[("60.toml", &format!("{PATTERN}{rule}{command}"))]).unwrap();
            assert!(!may(&policy, "users.hashes"), "{rule}");
        }
        let named = PATTERN.replace("users.*", "users.hashes");
        let (policy, said) = loaded(&[("60.toml", &format!("{named}{command}"))]).unwrap();
        assert!(may(&policy, "users.hashes"), "{said}");
        let run = "[[grant]]\nto = ['%remit']\nallow = ['run']\nrun_profile = 'sees'\n";
        let said = loaded(&[("60.toml", &format!("{run}{command}"))]).unwrap_err();
        assert!(
            said.contains("'run' cannot be granted in the profile 'sees'"),
            "{said}"
        );
    }
}

#[test]
fn only_fixed_words_of_remit_look_inspect() {
    let path = |inspect: &str, keys: &str| {
        let path = format!("args.a = {{ type = 'path', under = '/srv', {keys} }}");
        inspects(LOOK, "read", &path, inspect).replace("']\neffect", "', '{a}']\neffect")
    };
    let by_descriptor = "is = 'directory', pass = 'descriptor'";
    for (command, why) in [
        (
            inspects("/usr/bin/cat", "read", "", "names"),
            "runs '/usr/bin/cat explain-disk'",
        ),
        (
            inspects("/srv/x/remit-look", "read", "", "processes"),
            "is for '/usr/libexec/remit/remit-look' with deleted-files",
        ),
        (
            inspects("/usr/bin/remit-look", "read", "", "names"),
            "is for '/usr/libexec/remit/remit-look' with explain-disk",
        ),
        (
            inspects(LOOK, "read", "", "names").replace("explain-disk", "private-file"),
            "remit-look private-file'",
        ),
        (
            inspects(LOOK, "read", "", "processes").replace(", 'deleted-files'", ""),
            "remit-look'",
        ),
        (inspects(LOOK, "change", "", "names"), "is for effect"),
        (
            inspects(LOOK, "read", "stdin = 'caller'", "processes"),
            "no standard input",
        ),
        (
            inspects(
                LOOK,
                "read",
                "env = { LD_PRELOAD = '/srv/x.so' }",
                "processes",
            ),
            "sets no variables",
        ),
        (
            inspects(LOOK, "read", "", "names") + "env = { LD_PRELOAD = '/srv/x.so' }\n",
            "has no 'env'",
        ),
        (inspects(LOOK, "read", "", "file"), "shows one file"),
        (
            path("names", "is = 'file', pass = 'descriptor'"),
            "'a' is another",
        ),
        (path("names", "is = 'directory'"), "'a' is another"),
        (path("processes", by_descriptor), "'a' is another"),
        (path("file", by_descriptor), "'a' is another"),
    ] {
        let said = loaded(&[("60.toml", &command)]).unwrap_err();
        assert!(said.contains(why), "{why}: {said}");
    }
    loaded(&[("60.toml", &path("names", by_descriptor))]).unwrap();
}
