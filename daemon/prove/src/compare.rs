//! Compares a look at a machine with an earlier one: which paths are new, which are gone, and which parts were looked at then
//! and are not now. Pure. It never takes a path for gone because a part was not looked at without saying so.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::report::{Path, Report, SubjectReport};

type PathKey = (String, BTreeSet<(String, String)>);

/// A path to root is one to every account, and then no other is listed.
const ROOT: &str = "root";

/// What is kept of a look to compare a later one with. Its form is a part of the file of `remit prove --compare`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenPaths {
    /// Paths of each account that was judged.
    pub accounts: BTreeMap<String, Vec<SeenPath>>,
    /// Parts of the machine that were not looked at: path and reason.
    pub unknown: BTreeSet<(String, String)>,
    pub more_unknown: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenPath {
    pub goal: String,
    /// Rule and fact of each step.
    pub steps: Vec<(String, String)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    pub new: Vec<NewPath>,
    pub gone: Vec<GonePath>,
    /// What was looked at then and is not now, with the reason.
    pub uncompared: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewPath {
    pub account: String,
    /// The goal was reached before, by other steps.
    pub is_known_goal: bool,
    pub path: Path,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GonePath {
    pub account: String,
    pub path: SeenPath,
}

impl SeenPaths {
    pub fn of(report: &Report) -> Self {
        let accounts = report.subjects.iter().map(|subject| {
            let paths = subject.reaches.iter().map(SeenPath::of);
            (subject.name.clone(), paths.collect())
        });
        Self {
            accounts: accounts.collect(),
            unknown: report.unknown.iter().cloned().collect(),
            more_unknown: report.more_unknown,
        }
    }

    /// Counts the paths that an earlier look does not have.
    pub fn count_new(&self, before: Option<&Self>) -> usize {
        let of_account = |(account, paths): (&String, &Vec<SeenPath>)| {
            let known = before.and_then(|before| before.accounts.get(account));
            let known = keys(known.map(Vec::as_slice).unwrap_or_default());
            let new = paths.iter().filter(|path| !known.contains(&path.key()));
            new.count()
        };
        self.accounts.iter().map(of_account).sum()
    }
}

impl SeenPath {
    fn of(path: &Path) -> Self {
        let steps = path.steps.iter();
        Self {
            goal: path.goal.clone(),
            steps: steps
                .map(|step| (step.rule.clone(), step.fact.clone()))
                .collect(),
        }
    }

    /// What makes it another path: neither the order of its steps, nor on which line of a file a text is.
    fn key(&self) -> PathKey {
        let steps = self.steps.iter();
        let steps = steps.map(|(rule, fact)| (rule.clone(), without_lines(fact)));
        (self.goal.clone(), steps.collect())
    }
}

impl Comparison {
    pub fn is_news(&self) -> bool {
        !self.new.is_empty() || !self.uncompared.is_empty()
    }
}

/// Without an earlier look every path is new, and nothing is missing.
pub fn compare(before: Option<&SeenPaths>, now: &Report) -> Comparison {
    let mut found = Comparison::default();
    let Some(before) = before else {
        let nothing = SeenPaths::default();
        for subject in &now.subjects {
            of_account(&nothing, subject, &mut found);
        }
        return found;
    };
    for subject in &now.subjects {
        of_account(before, subject, &mut found);
    }
    let judged = |name: &String| now.subjects.iter().any(|subject| subject.name == *name);
    let left = before.accounts.keys().filter(|name| !judged(name));
    found.uncompared.extend(left.map(|name| {
        let why = "it is no agent now, or there was no time for it";
        (format!("account {name}"), why.to_owned())
    }));
    let plain = |(path, why): &(String, String)| (path.clone(), without_digits(why));
    let known: BTreeSet<(String, String)> = before.unknown.iter().map(plain).collect();
    let hidden = now
        .unknown
        .iter()
        .filter(|one| !known.contains(&plain(one)));
    found.uncompared.extend(hidden.cloned());
    let more = now.more_unknown.saturating_sub(before.more_unknown);
    if more > 0 {
        let why = "they are too many to be listed".to_owned();
        let what = format!("{more} further parts of the machine");
        found.uncompared.push((what, why));
    }
    found
}

fn keys(paths: &[SeenPath]) -> BTreeSet<PathKey> {
    paths.iter().map(SeenPath::key).collect()
}

fn of_account(before: &SeenPaths, subject: &SubjectReport, found: &mut Comparison) {
    let known = before.accounts.get(&subject.name);
    let known = known.map(Vec::as_slice).unwrap_or_default();
    let known_keys = keys(known);
    for path in &subject.reaches {
        if known_keys.contains(&SeenPath::of(path).key()) {
            continue;
        }
        found.new.push(NewPath {
            account: subject.name.clone(),
            is_known_goal: known.iter().any(|one| one.goal == path.goal),
            path: path.clone(),
        });
    }
    let is_reached = |goal: &str| {
        let mut goals = subject.reaches.iter().map(|path| path.goal.as_str());
        goals.any(|reached| reached == goal || reached == ROOT)
    };
    let gone: Vec<&SeenPath> = known
        .iter()
        .filter(|path| !is_reached(&path.goal))
        .collect();
    if !gone.is_empty() && subject.is_cut() {
        let what = format!("{} paths of {}", gone.len(), subject.name);
        let why = "there are too many others".to_owned();
        found.uncompared.push((what, why));
        return;
    }
    found.gone.extend(gone.into_iter().map(|path| GonePath {
        account: subject.name.clone(),
        path: path.clone(),
    }));
}

/// A line and a bound in a reason may be others each time.
fn without_digits(why: &str) -> String {
    why.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// Takes the number out of each `FILE:NUMBER: TEXT`.
fn without_lines(fact: &str) -> String {
    let mut plain = String::with_capacity(fact.len());
    let mut rest = fact;
    while let Some((before, after)) = rest.split_once(':') {
        plain.push_str(before);
        plain.push(':');
        let text = after.trim_start_matches(|c: char| c.is_ascii_digit());
        let is_number = text.len() < after.len() && text.starts_with(": ");
        rest = if is_number { text } else { after };
    }
    plain + rest
}
