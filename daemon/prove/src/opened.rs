//! Compares what is reached before and after a change. Pure.

use std::collections::BTreeSet;

use remit_common::prove::{Opened, OpenedPath};

use crate::report::{Path, Report, Step};

/// Returns the goals that an account reaches only after the change, with their proofs. What it reached before, it reaches
/// anyway: another way there opens nothing.
pub fn opened(before: &Report, after: &Report) -> Opened {
    let known: BTreeSet<(&str, &str)> = before
        .subjects
        .iter()
        .flat_map(|subject| reached(&subject.name, &subject.reaches))
        .collect();
    let is_known =
        |name: &str, goal: &str| known.contains(&(name, goal)) || known.contains(&(name, ROOT));
    let mut paths = Vec::new();
    for subject in &after.subjects {
        let new = subject.reaches.iter();
        let new = new.filter(|path| !is_known(&subject.name, &path.goal));
        paths.extend(new.map(|path| OpenedPath {
            agent: subject.name.clone(),
            goal: path.goal.clone(),
            steps: path.steps.iter().map(step).collect(),
            closed_by: path.closed_by.clone(),
        }));
    }
    let mut limits = after.limits.clone();
    limits.retain(|limit| !before.limits.contains(limit));
    Opened {
        paths,
        unknown: after.unknown.len().saturating_add(after.more_unknown),
        limits,
    }
}

/// Whoever is root reaches every other goal.
const ROOT: &str = "root";

fn reached<'a>(name: &'a str, paths: &'a [Path]) -> impl Iterator<Item = (&'a str, &'a str)> {
    paths.iter().map(move |path| (name, path.goal.as_str()))
}

fn step(step: &Step) -> String {
    format!("{} [{}]", step.fact, step.rule)
}
