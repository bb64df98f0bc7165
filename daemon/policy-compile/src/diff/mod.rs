//! Compares what two policies mean: definitions, and rights, by id of each subject that a rule names. A caller in
//! several groups has the sum. Ignores comments, order, names of files and rules, and other names of an account.

mod definitions;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use remit_common::caps;
use remit_common::text::line;

use crate::load::limits::print_seconds;
use remit_policy::decide::access::Deciding;
use remit_policy::decide::index::PositionSet;
use remit_policy::model::approval::Approval;
use remit_policy::model::command::CommitUse;
use remit_policy::model::policy::Named;
use remit_policy::model::policy::{CHANGE, Policy, RUN};
use remit_policy::model::rule::{Coverage, GrantRule, Grantees, Principal};

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

/// What one subject may do by one policy: `run` by profile, everything else by name.
#[derive(Default)]
struct Reach<'a> {
    names: BTreeMap<Name<'a>, State>,
    /// The variables that one rule lists together, of `run` in a profile and of one-off changes.
    variables: BTreeMap<Name<'a>, Vec<&'a BTreeSet<String>>>,
    /// Seconds within which somebody confirms a commit.
    confirm: BTreeMap<Name<'a>, u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Name<'a> {
    Named(&'a str),
    Scoped(&'a str, Coverage<'a>),
    RunIn(&'a str),
}

#[derive(Clone)]
enum State {
    Unknown,
    Denied,
    Granted(Option<Approval>),
}

impl<'a> Reach<'a> {
    fn of(policy: &'a Policy, principal: Principal) -> Self {
        let granting = policy.granting.of_all([principal].into_iter());
        let denying = policy.denying.of_all([principal].into_iter());
        let denials = |name: &str| {
            let positions = policy.denying.positions(&denying, name);
            positions.filter_map(|at| policy.denies.get(at))
        };
        let is_denied = |name: &str| denials(name).any(|rule| rule.scope.is_any());
        let mut reach = Self::default();
        for named in policy.all_named() {
            let name = named.name();
            if is_denied(name) {
                reach.names.insert(Name::Named(name), State::Denied);
                continue;
            }
            let rules = policy.deciding(&granting, named);
            let whole = rules.iter().find(|one| one.coverage.is_any());
            let whole = whole.map(|one| one.approval.clone());
            let is_commit = match named {
                Named::Builtin(_) => false,
                Named::Command(command) => command.commit_use() == Some(CommitUse::Commit),
            };
            // A rule that decides nothing may still ask for it.
            let confirming = policy.granting.positions(&granting, name);
            let confirming = confirming.filter_map(|at| policy.grants.get(at));
            for rule in confirming.filter(|_| is_commit) {
                let Some(seconds) = rule.confirm_s else {
                    continue;
                };
                let coverage = rule.coverage(named.nature()).without_acts();
                let least = reach.confirm.entry(Name::of(name, coverage));
                let least = least.or_insert(seconds);
                *least = seconds.min(*least);
            }
            for Deciding {
                coverage, approval, ..
            } in rules
            {
                if coverage.acts.is_some() {
                    let followed = Name::Scoped(name, coverage);
                    let state = State::Granted(approval.clone());
                    reach.names.insert(followed, state);
                }
                // An approval that every call needs is not reported again for some of them.
                let adds = whole
                    .as_ref()
                    .is_none_or(|whole| !same(whole.as_ref(), approval.as_ref()));
                if coverage.is_any() || adds {
                    let name = Name::of(name, coverage.without_acts());
                    reach.names.insert(name, State::Granted(approval));
                }
            }
            for rule in denials(name) {
                let coverage = Coverage {
                    scope: &rule.scope,
                    paths: &[],
                    acts: None,
                };
                let name = Name::of(name, coverage);
                reach.names.insert(name, State::Denied);
            }
        }
        match is_denied(CHANGE) {
            true => drop(reach.names.insert(Name::Named(CHANGE), State::Denied)),
            false => reach
                .insert_any_program(policy, policy.one_offs(&granting), |_| Name::Named(CHANGE)),
        }
        if is_denied(RUN) {
            reach.names.insert(Name::Named(RUN), State::Denied);
            return reach;
        }
        reach.insert_any_program(policy, policy.runs(&granting), |rule| {
            Name::RunIn(&rule.profile.name)
        });
        reach
    }

    fn insert_any_program(
        &mut self,
        policy: &'a Policy,
        granted: Vec<(usize, Option<Approval>)>,
        name: impl Fn(&'a GrantRule) -> Name<'a>,
    ) {
        for (position, approval) in granted {
            if let Some(rule) = policy.grants.get(position) {
                let name = name(rule);
                self.names.insert(name, State::Granted(approval));
                self.variables.entry(name).or_default().push(&rule.env);
            }
        }
    }

    /// Returns true if some calls of this command are granted.
    fn grants(&self, command: &str) -> bool {
        let mut names = self.names.iter();
        names.any(|(name, state)| name.command() == command && matches!(state, State::Granted(_)))
    }

    fn state(&self, name: Name<'a>) -> State {
        self.names.get(&name).cloned().unwrap_or(State::Unknown)
    }
}

impl<'a> Name<'a> {
    fn of(name: &'a str, coverage: Coverage<'a>) -> Self {
        match coverage.is_any() {
            true => Self::Named(name),
            false => Self::Scoped(name, coverage),
        }
    }

    fn command(&self) -> &'a str {
        match self {
            Self::Named(name) | Self::Scoped(name, _) => name,
            Self::RunIn(_) => RUN,
        }
    }
}

fn same(one: Option<&Approval>, other: Option<&Approval>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => asks_same(one, other),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Scoped(name, coverage) => write!(f, "{name} ({coverage})"),
            Self::RunIn(profile) => write!(f, "{RUN} (profile {profile})"),
        }
    }
}

fn changes(old: &Reach<'_>, new: &Reach<'_>) -> Vec<String> {
    let mut changes: BTreeMap<Change, Vec<Name<'_>>> = BTreeMap::new();
    let names: BTreeSet<&Name<'_>> = old.names.keys().chain(new.names.keys()).collect();
    for name in names {
        for change in between(old.state(*name), new.state(*name)) {
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
        true => new.names.contains_key(name),
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
