//! Two looks at a machine are compared: each row says what was seen, what is seen now, and what is said of it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use proptest::collection::vec;
use proptest::prelude::*;
use remit_prove::compare::{Comparison, SeenPaths, compare};
use remit_prove::report::{Path, Report, Step, SubjectReport};
use remit_prove::text;

/// `ACCOUNT GOAL: FACT, FACT`, `ACCOUNT` without a path, or `?PATH: WHY` for what is unknown; `+N` more unknown.
fn report(lines: &[&str]) -> Report {
    let mut report = Report::default();
    for line in lines {
        if let Some(unknown) = line.strip_prefix('?') {
            let (path, why) = unknown.split_once(": ").unwrap();
            report.unknown.push((path.into(), why.into()));
            continue;
        }
        if let Some(more) = line.strip_prefix('+') {
            report.more_unknown = more.parse().unwrap();
            continue;
        }
        let (account, path) = line.split_once(' ').unwrap_or((line, ""));
        let known = |one: &SubjectReport| one.name == account;
        if !report.subjects.iter().any(known) {
            report.subjects.push(SubjectReport {
                name: account.into(),
                groups: Vec::new(),
                reaches: Vec::new(),
                accounts: Vec::new(),
            });
        }
        let subject = report.subjects.iter_mut().find(|one| known(one)).unwrap();
        if let Some((goal, facts)) = path.split_once(" <- ") {
            let steps = facts.split(", ").map(|fact| Step {
                rule: "rule".into(),
                fact: fact.into(),
                sentence: "sentence".into(),
                source: "source(5)".into(),
            });
            subject.reaches.push(Path {
                goal: goal.into(),
                steps: steps.collect(),
                closed_by: vec!["chmod".into()],
            });
        }
    }
    report
}

fn said(found: &Comparison) -> Vec<String> {
    let new = found.new.iter().map(|one| {
        let how = if one.is_known_goal { "other" } else { "new" };
        format!("{how} {} {}", one.account, one.path.goal)
    });
    let gone = found
        .gone
        .iter()
        .map(|one| format!("gone {} {}", one.account, one.path.goal));
    let hidden = found
        .uncompared
        .iter()
        .map(|(what, _)| format!("hidden {what}"));
    new.chain(gone).chain(hidden).collect()
}

#[test]
fn paths_are_new_gone_or_not_comparable() {
    let cut: Vec<String> = (0..200).map(|goal| format!("a goal{goal} <- x")).collect();
    let cut: Vec<&str> = cut.iter().map(String::as_str).collect();
    let rows: &[(&[&str], &[&str], &[&str])] = &[
        (&[], &[], &[]),
        (&[], &["a root <- x, y", "b"], &["new a root"]),
        (&["a"], &["a"], &[]),
        (&["a"], &["a root <- x"], &["new a root"]),
        (&["a root <- x"], &["a root <- x"], &[]),
        (&["a root <- x"], &["a root <- y"], &["other a root"]),
        (&["a root <- x, y"], &["a root <- x"], &["other a root"]),
        // Neither the order of steps nor the line of a file matters.
        (&["a root <- x, y"], &["a root <- y, x"], &[]),
        (
            &["a root <- /etc/crontab:5: * x"],
            &["a root <- /etc/crontab:17: * x"],
            &[],
        ),
        (
            &["a root <- /etc/crontab:5: * x"],
            &["a root <- /etc/crontab:5: * y"],
            &["other a root"],
        ),
        (
            &["a root <- /etc/crontab:5: x"],
            &["a root <- /etc/cron.d/x:5: x"],
            &["other a root"],
        ),
        (
            &["a root <- 10:30:00"],
            &["a root <- 10:31:00"],
            &["other a root"],
        ),
        (&["a root <- x"], &["a"], &["gone a root"]),
        // Another account's path is another path.
        (
            &["a root <- x", "b"],
            &["a", "b root <- x"],
            &["new b root", "gone a root"],
        ),
        // Root has every account: those goals are not listed, and not gone.
        (&["a remit <- x"], &["a root <- y"], &["new a root"]),
        (
            &["a root <- y"],
            &["a remit <- x"],
            &["new a remit", "gone a root"],
        ),
        // Somebody who is not judged now.
        (&["a root <- x"], &[], &["hidden account a"]),
        (&["a", "b"], &["b"], &["hidden account a"]),
        // Parts of the machine.
        (&["a", "?/srv: w"], &["a", "?/srv: w"], &[]),
        (&["a", "?/srv: w"], &["a"], &[]),
        (&["a"], &["a", "?/srv: w"], &["hidden /srv"]),
        (&["a", "?/srv: w"], &["a", "?/srv: v"], &["hidden /srv"]),
        (&["a", "?/srv: line 5"], &["a", "?/srv: line 17"], &[]),
        (
            &["a root <- x"],
            &["a", "?/srv: w"],
            &["gone a root", "hidden /srv"],
        ),
        (&["a", "+2"], &["a", "+2"], &[]),
        (&["a", "+2"], &["a", "+1"], &[]),
        (
            &["a"],
            &["a", "+2"],
            &["hidden 2 further parts of the machine"],
        ),
    ];
    for (before, now, expect) in rows {
        let found = compare(Some(&SeenPaths::of(&report(before))), &report(now));
        assert_eq!(said(&found), *expect, "{before:?} {now:?}");
        let is_news = expect.iter().any(|line| !line.starts_with("gone"));
        assert_eq!(found.is_news(), is_news, "{before:?} {now:?}");
    }
    // The first look.
    let found = compare(None, &report(&["a root <- x", "b", "?/srv: w", "+1"]));
    assert_eq!(said(&found), ["new a root"]);
    // Of a list that was cut nothing is known to be gone.
    let before = SeenPaths::of(&report(&["a other <- x"]));
    let found = compare(Some(&before), &report(&cut));
    assert_eq!(found.gone, []);
    assert_eq!(found.uncompared[0].0, "1 paths of a");
}

#[test]
fn comparison_is_shown_with_steps_and_escaped() {
    let before = report(&["a remit <- f", "b root <- x"]);
    let now = report(&["a remit <- g\u{1b}[2J", "b", "?/srv: w"]);
    let found = compare(Some(&SeenPaths::of(&before)), &now);
    let shown = text::comparison(&found, true);
    let expect = "new: a reaches remit by other steps:\n  1. g\\x1b[2J [rule]\n     sentence: source(5)\n  closed by: chmod\n\
                  gone: b reached root:\n  1. x [rule]\n\
                  looked at then and not now: 1, a path there is not seen\n  /srv: w\n";
    assert_eq!(shown, expect);
    let same = compare(Some(&SeenPaths::of(&before)), &before);
    assert_eq!(text::comparison(&same, false), "no new path found\n");
}

proptest! {
    #[test]
    fn same_report_is_no_news(
        facts in vec(any::<String>(), 0..4),
        goals in vec(any::<String>(), 0..4),
        unknown in vec(any::<(String, String)>(), 0..4),
    ) {
        let mut one = report(&["a"]);
        one.unknown = unknown;
        one.subjects[0].reaches = goals.iter().map(|goal| Path {
            goal: goal.clone(),
            steps: facts.iter().map(|fact| Step { rule: String::new(), fact: fact.clone(), sentence: String::new(), source: String::new() }).collect(),
            closed_by: Vec::new(),
        }).collect();
        let found = compare(Some(&SeenPaths::of(&one)), &one);
        prop_assert!(!found.is_news() && found.gone.is_empty());
    }
}
