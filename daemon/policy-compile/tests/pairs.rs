//! Verdicts of every pair of rules, as a readable table (`pairs.txt`).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod common;

use std::fmt::Write;

use common::{COMMANDS, accounts, source};
use remit_common::wire::Effect;
use remit_policy::{Ask, Basis, CallerIds, Policy, RuleId, Verdict};
use remit_policy_compile::load;

const RULES: [(&str, &str); 9] = [
    ("run", "[[grant]]\nto = ['deploy']\nallow = ['run']"),
    (
        "run, approval",
        "[[grant]]\nto = ['%ops']\nallow = ['run']\napproval = { by = ['%remit'], expires = '10min' }",
    ),
    (
        "run, longer",
        "[[grant]]\nto = ['deploy']\nallow = ['r*n']\napproval = { by = ['%remit'], expires = '1h' }",
    ),
    (
        "run in strict",
        "[[grant]]\nto = ['#64001']\nallow = ['run']\nrun_profile = 'strict'",
    ),
    (
        "nginx.*",
        "[[grant]]\nto = ['%ops']\nallow = ['nginx.*']\neffect = 'change'",
    ),
    (
        "test, approval",
        "[[grant]]\nto = ['deploy']\nallow = ['nginx.test']\napproval = { by = ['%remit'], expires = '10min' }",
    ),
    ("no run", "[[deny]]\nto = ['%#901']\ndeny = ['run']"),
    ("no nginx", "[[deny]]\nto = ['deploy']\ndeny = ['ng*']"),
    (
        "others",
        "[[grant]]\nto = ['mallory']\nallow = ['*']\n[[deny]]\nto = ['mallory', '%remit']\ndeny = ['*']",
    ),
];

const ASKS: [(&str, Ask<'_>); 5] = [
    (
        "run",
        Ask::Run {
            profile: None,
            argv0: b"df",
            env_names: &[],
        },
    ),
    (
        "in strict",
        Ask::Run {
            profile: Some("strict"),
            argv0: b"df",
            env_names: &[],
        },
    ),
    (
        "logs",
        Ask::Command {
            name: "logs",
            effect: Effect::Read,
            args: &[],
        },
    ),
    (
        "nginx.test",
        Ask::Command {
            name: "nginx.test",
            effect: Effect::Read,
            args: &[],
        },
    ),
    (
        "nginx.reload",
        Ask::Command {
            name: "nginx.reload",
            effect: Effect::Change,
            args: &[],
        },
    ),
];

const CALLER: CallerIds<'_> = CallerIds {
    uid: 64001,
    gids: &[901],
};

/// `allow 1`: allowed by the rule in `1.toml`; `-`: refused without a rule.
fn cell(policy: &Policy, ask: &Ask<'_>) -> String {
    let rule_file = |id: &RuleId| id.file().trim_end_matches(".toml").to_owned();
    let of = |basis: &Basis| match basis {
        Basis::Rule(id) => rule_file(id),
        other => panic!("decide says {other:?}"),
    };
    match policy.decide(CALLER, ask) {
        Verdict::Allow(grant) => format!("allow {}", of(grant.basis())),
        Verdict::Ask(pending) => format!("ask {}", rule_file(pending.rule())),
        Verdict::Deny(denial) => denial
            .rule
            .map_or("-".into(), |id| format!("deny {}", rule_file(&id))),
    }
}

fn row(first: &str, second: &str, cells: &[String]) -> String {
    let mut line = format!("{first:<15}{second:<15}");
    for cell in cells {
        write!(line, "{cell:<13}").unwrap();
    }
    line.trim_end().to_owned() + "\n"
}

#[test]
fn every_two_rules_decide_as_the_table_says() {
    let golden = include_str!("pairs.txt");
    let (head, _) = golden.split_once("\n1.toml").unwrap();
    let mut today = format!("{head}\n");
    today += &row("1.toml", "2.toml", &ASKS.map(|(name, _)| name.to_owned()));
    let mut pairs = 0;
    for (first, one) in RULES {
        for (second, other) in RULES {
            let files = [
                source("0.toml", COMMANDS),
                source("1.toml", one),
                source("2.toml", other),
            ];
            let (policy, _) = load(&files, &accounts())
                .unwrap_or_else(|found| panic!("{}", common::lines(&found)));
            today += &row(first, second, &ASKS.map(|(_, ask)| cell(&policy, &ask)));
            pairs += 1;
        }
    }
    assert_eq!(pairs, RULES.len() * RULES.len());
    for (was, is) in golden.lines().zip(today.lines()) {
        assert_eq!(was, is, "the whole file would be:\n{today}");
    }
    assert_eq!(
        golden.lines().count(),
        today.lines().count(),
        "the whole file would be:\n{today}"
    );
}
