//! Compares what two policies mean: definitions, and rights, by id of each subject that a rule names. A caller in
//! several groups has the sum. Ignores comments, order, names of files and rules, and other names of an account.

mod definitions;
mod reach;

use std::collections::{BTreeMap, BTreeSet};

use remit_common::caps;
use remit_common::text::line;

use crate::diff::reach::{Name, Reach, State};
use crate::load::limits::print_seconds;
use remit_policy::decide::index::PositionSet;
use remit_policy::model::approval::Approval;
use remit_policy::model::policy::Policy;
use remit_policy::model::rule::{Grantees, Principal};

const NAMES: usize = 16;

/// Returns the changes, a line each: rights, sorted, with accounts as the files name them; then commands and profiles.
pub fn diff(old: &Policy, new: &Policy) -> Vec<String> {
    let mut known: BTreeMap<[Option<&PositionSet>; 4], Vec<String>> = BTreeMap::new();
    let mut lines = BTreeSet::new();
    for (principal, label) in labels(old, new) {
        let rules = [&old.granting, &old.denying, &new.granting, &new.denying];
        let changes = known
            .entry(rules.map(|index| index.rules_of(principal)))
            .or_insert_with(|| changes(&Reach::of(old, principal), &Reach::of(new, principal)));
        lines.extend(changes.iter().map(|change| format!("{label} {change}")));
    }
    lines
        .into_iter()
        .chain(definitions::changes(old, new))
        .chain(accepted(old, new))
        .collect()
}

/// Returns the paths that one policy accepts and the other does not.
fn accepted(old: &Policy, new: &Policy) -> Vec<String> {
    let paths = |policy: &Policy| -> BTreeSet<(String, String)> {
        let accepts = policy.accepts.iter();
        accepts
            .map(|one| (one.agent.clone(), one.reaches.clone()))
            .collect()
    };
    let (old, new) = (paths(old), paths(new));
    let line = |(agent, reaches): &(String, String), how: &str| {
        let text = format!("a path of {agent} to {reaches} {how}");
        line(text.as_bytes(), caps::NAME.saturating_mul(8))
    };
    let more = new.difference(&old).map(|one| line(one, "is accepted"));
    let fewer = old
        .difference(&new)
        .map(|one| line(one, "is not accepted any more"));
    more.chain(fewer).collect()
}

/// Returns the subjects that the rules of either policy name. If one name meant two ids, the id is added.
fn labels(old: &Policy, new: &Policy) -> BTreeMap<Principal, String> {
    let mut labels = BTreeMap::new();
    for policy in [new, old] {
        let grants = policy.grants.iter().map(|rule| &rule.to);
        let mut words: BTreeMap<Principal, &String> = BTreeMap::new();
        for Grantees {
            ids,
            members: _,
            words: _,
        } in grants.chain(policy.denies.iter().map(|rule| &rule.to))
        {
            for (principal, word) in ids {
                let first = words.entry(*principal).or_insert(word);
                *first = word.min(first);
            }
        }
        for (principal, word) in words {
            let label = || line(word.as_bytes(), caps::NAME);
            labels.entry(principal).or_insert_with(label);
        }
    }
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for label in labels.values() {
        *times.entry(label.clone()).or_default() += 1;
    }
    for (principal, label) in &mut labels {
        if times.get(label).is_some_and(|times| *times > 1) {
            *label += &match principal {
                Principal::User(uid) => format!(" (uid {uid})"),
                Principal::Group(gid) => format!(" (gid {gid})"),
            };
        }
    }
    labels
}

fn changes(old: &Reach<'_>, new: &Reach<'_>) -> Vec<String> {
    let mut changes: BTreeMap<Change, Vec<Name<'_>>> = BTreeMap::new();
    let names: BTreeSet<&Name<'_>> = old.names.keys().chain(new.names.keys()).collect();
    for name in names {
        let (before, now) = Reach::states(old, new, name);
        for change in between(before, now) {
            changes.entry(change).or_default().push(*name);
        }
    }
    let changes = changes
        .into_iter()
        .map(|(Change { before, after }, names)| {
            let mut shown: Vec<String> =
                names.iter().take(NAMES).map(ToString::to_string).collect();
            if names.len() > NAMES {
                shown.push(format!("{} more", names.len() - NAMES));
            }
            format!("{before} {}{after}", shown.join(", "))
        });
    changes
        .chain(variables(old, new))
        .chain(confirmations(old, new))
        .collect()
}

fn confirmations(old: &Reach<'_>, new: &Reach<'_>) -> Vec<String> {
    let names: BTreeSet<&Name<'_>> = old.confirm.keys().chain(new.confirm.keys()).collect();
    let is_left = |name: &Name<'_>| match old.names.contains_key(name) {
        true => matches!(Reach::states(old, new, name).1, State::Granted(_)),
        false => new.grants(name.command()),
    };
    let between = |name: &&Name<'_>| match (old.confirm.get(name), new.confirm.get(name)) {
        (before, Some(now)) if before != Some(now) => Some(format!(
            "has to have {name} confirmed within {}; otherwise it is undone",
            print_seconds(*now)
        )),
        (Some(_), None) if is_left(name) => Some(format!(
            "no longer has to have {name} confirmed by its rule"
        )),
        _ => None,
    };
    names.iter().filter_map(between).collect()
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Change {
    before: String,
    after: String,
}

fn between(old: State, new: State) -> Vec<Change> {
    let change = |before: &str, after: String| Change {
        before: before.to_owned(),
        after,
    };
    let plain = |before: &str| change(before, String::new());
    let gains = |approval: Option<Approval>| match approval {
        Some(approval) => change("gains", format!(" ({approval})")),
        None => plain("gains"),
    };
    let (denied, undenied) = ("is now denied", "is no longer denied");
    match (old, new) {
        (State::Unknown, State::Unknown) | (State::Denied, State::Denied) => Vec::new(),
        (State::Unknown, State::Denied) => vec![plain(denied)],
        (State::Unknown, State::Granted(approval)) => vec![gains(approval)],
        (State::Denied, State::Unknown) => vec![plain(undenied)],
        (State::Denied, State::Granted(approval)) => vec![plain(undenied), gains(approval)],
        (State::Granted(_), State::Unknown) => vec![plain("loses")],
        (State::Granted(_), State::Denied) => vec![plain("loses"), plain(denied)],
        (State::Granted(old), State::Granted(new)) => match (old, new) {
            (None, None) => Vec::new(),
            (Some(_), None) => vec![plain("no longer needs approval:")],
            (None, Some(new)) => vec![plain(&format!("now {new}:"))],
            (Some(old), Some(new)) if asks_same(&old, &new) => Vec::new(),
            (Some(old), Some(new)) => vec![plain(&format!("now {new} (before: {old}):"))],
        },
    }
}

fn variables(old: &Reach<'_>, new: &Reach<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    for (run, sets) in &old.variables {
        let Some(sets_now) = new.variables.get(run) else {
            continue;
        };
        for set in uncovered(sets_now, sets) {
            lines.push(format!("may now set {set} in {run}"));
        }
        for set in uncovered(sets, sets_now) {
            lines.push(format!("may no longer set {set} in {run}"));
        }
    }
    lines
}

/// Lists those of `sets` that no set in `by` contains: the names left over, or the whole set if its parts existed.
fn uncovered(sets: &[&BTreeSet<String>], by: &[&BTreeSet<String>]) -> BTreeSet<String> {
    let is_covered = |set: &BTreeSet<String>| by.iter().any(|other| set.is_subset(other));
    let is_part = |set: &BTreeSet<String>| {
        let mut larger = sets.iter().filter(|other| set.len() < other.len());
        larger.any(|other| set.is_subset(other))
    };
    let described = |set: &&BTreeSet<String>| {
        let parts: Vec<_> = by.iter().filter(|other| other.is_subset(set)).collect();
        let is_new = |name: &&String| !parts.iter().any(|part| part.contains(*name));
        let names = |all: Vec<&String>| {
            let names: Vec<&str> = all.into_iter().map(String::as_str).collect();
            names.join(", ")
        };
        match set.iter().filter(is_new).collect::<Vec<_>>() {
            none if none.is_empty() => format!("{} together", names(set.iter().collect())),
            some => names(some),
        }
    };
    let beyond = sets.iter().filter(|set| !is_covered(set) && !is_part(set));
    beyond.map(described).collect()
}

fn same(one: Option<&Approval>, other: Option<&Approval>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => asks_same(one, other),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn asks_same(one: &Approval, other: &Approval) -> bool {
    let is_there = |list: &Grantees| {
        let mut others = other.lists().iter();
        others.any(|other| list.ids.keys().eq(other.ids.keys()))
    };
    one.expires_s() == other.expires_s()
        && one.count() == other.count()
        && one.signed() == other.signed()
        && one.lists().len() == other.lists().len()
        && one.lists().iter().all(is_there)
}
