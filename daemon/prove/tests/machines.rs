//! Each `tests/machines/NAME.toml` describes a machine and what is expected of it. It is laid out with real owners, and
//! read by the real reader. Needs root.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeSet;

use common::laid::goals;
use common::{Laid, machines};
use remit_prove::rule::RuleId;
use remit_prove::text::text;

#[test]
fn each_machine_is_judged_as_described() {
    let mut wrong = Vec::new();
    for (name, described) in machines() {
        if let Err(why) = Laid::of(&described).check() {
            wrong.push(format!("{name}: {why}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Each planted path has changes after which nothing is found: no step was superfluous.
#[test]
fn mended_machine_has_no_path() {
    let mut wrong = Vec::new();
    for (name, described) in machines() {
        if described.mend.is_empty() != described.reaches.is_empty() {
            wrong.push(format!(
                "{name}: a path has mends, a clean machine has none"
            ));
        }
        for mend in &described.mend {
            if let Err(why) = Laid::of(&described.mended(mend)).check() {
                wrong.push(format!("{name}, {}: {why}", mend.about));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Each change that an answer proposes is made: its goal is reached no more, on the machine as it is then read.
#[test]
fn proposed_change_closes_the_path() {
    let mut wrong = Vec::new();
    let mut made = 0;
    for (name, described) in machines() {
        let report = Laid::of(&described).report();
        for path in &report.subjects[0].reaches {
            for change in &path.closed_by {
                let mut laid = Laid::of(&described);
                if let Err(why) = laid.make(change) {
                    wrong.push(format!("{name}: {why}"));
                    continue;
                }
                let after = laid.report();
                if goals(&after.subjects[0]).contains(&path.goal.as_str()) {
                    let shown = text(&after, true);
                    wrong.push(format!("{name}: '{change}' does not close:\n{shown}"));
                }
                made += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(made > 0);
}

/// Each rule is a step of a machine, and its mends are machines on which it is not true.
#[test]
fn each_rule_has_a_machine() {
    let machines = machines();
    let reaches = machines.iter().flat_map(|(_, one)| &one.reaches);
    let steps: BTreeSet<&str> = reaches
        .flat_map(|path| &path.steps)
        .filter_map(|step| step.split(' ').next())
        .collect();
    if std::env::var_os("REMIT_PROVE_MACHINE").is_none() {
        let rules = RuleId::ALL.iter().map(|rule| rule.name());
        assert_eq!(steps, rules.collect());
    }
}
