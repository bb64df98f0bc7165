//! What one subject may do by one policy.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::mem::discriminant;

use remit_policy::decide::access::Deciding;
use remit_policy::model::approval::Approval;
use remit_policy::model::command::CommitUse;
use remit_policy::model::policy::{CHANGE, Named, Policy, RUN};
use remit_policy::model::rule::{Coverage, GrantRule, Principal};
use remit_policy::model::scope::Scope;

use crate::diff::same;

/// By names: `run` by profile, everything else by its own.
#[derive(Default)]
pub(super) struct Reach<'a> {
    pub(super) names: BTreeMap<Name<'a>, State>,
    /// The variables that one rule lists together, of `run` in a profile and of one-off changes.
    pub(super) variables: BTreeMap<Name<'a>, Vec<&'a BTreeSet<String>>>,
    /// Seconds within which somebody confirms a commit.
    pub(super) confirm: BTreeMap<Name<'a>, u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name<'a> {
    Named(&'a str),
    Scoped(&'a str, Coverage<'a>),
    RunIn(&'a str),
}

#[derive(Clone)]
pub(super) enum State {
    Unknown,
    Denied,
    Granted(Option<Approval>),
}

impl<'a> Reach<'a> {
    pub(super) fn of(policy: &'a Policy, principal: Principal) -> Self {
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
    pub(super) fn grants(&self, command: &str) -> bool {
        let mut names = self.names.iter();
        names.any(|(name, state)| name.command() == command && matches!(state, State::Granted(_)))
    }

    /// Returns the states of these calls by the one and the other. Calls without an entry of their own have the state that
    /// all of them have by wider ones: by an approval or a denial of a part, its other calls are neither gained nor lost.
    pub(super) fn states(old: &Self, new: &Self, name: &Name<'_>) -> (State, State) {
        match (old.names.get(name), new.names.get(name)) {
            (Some(before), Some(now)) => (before.clone(), now.clone()),
            (Some(before), None) => (before.clone(), new.wider(name, before, |_| true)),
            // What is lost with a wider entry, and kept of it, is gained: the two lines say what is left.
            (None, Some(now)) => {
                let is_kept = |wider: &Name<'_>| {
                    let wider = new.names.get(wider).map(discriminant);
                    wider == Some(discriminant(now))
                };
                (old.wider(name, now, is_kept), now.clone())
            }
            (None, None) => (State::Unknown, State::Unknown),
        }
    }

    /// Returns the state that wider entries give to calls without an entry of their own. `other`: their state by the other
    /// policy; a denial is compared with denials alone.
    fn wider(&self, name: &Name<'_>, other: &State, counts: impl Fn(&Name<'_>) -> bool) -> State {
        let Name::Scoped(command, coverage) = name else {
            return State::Unknown;
        };
        let first = Coverage {
            scope: &Scope::default(),
            paths: &[],
            acts: None,
        };
        let scoped = self.names.range(Name::Scoped(command, first)..);
        let scoped =
            scoped.take_while(|(name, _)| matches!(name, Name::Scoped(own, _) if own == command));
        let whole = self.names.get_key_value(&Name::Named(command));
        let wider: Vec<_> = whole
            .into_iter()
            .chain(scoped)
            .filter(|(wider, _)| wider.includes(coverage))
            .collect();
        let mut denied = wider
            .iter()
            .filter(|(_, state)| matches!(state, State::Denied));
        let granted = wider.iter().filter_map(|(wider, state)| match state {
            State::Granted(approval) if counts(wider) => Some(approval.as_ref()),
            State::Granted(_) | State::Denied | State::Unknown => None,
        });
        match other {
            State::Denied if denied.any(|(wider, _)| counts(wider)) => State::Denied,
            State::Granted(_) if denied.next().is_none() && granted.clone().next().is_some() => {
                State::Granted(Approval::all(granted.flatten()))
            }
            State::Unknown | State::Denied | State::Granted(_) => State::Unknown,
        }
    }
}

impl<'a> Name<'a> {
    fn of(name: &'a str, coverage: Coverage<'a>) -> Self {
        match coverage.is_any() {
            true => Self::Named(name),
            false => Self::Scoped(name, coverage),
        }
    }

    /// Returns true if these are all calls that the coverage is about, and all that may follow them.
    fn includes(&self, covered: &Coverage<'_>) -> bool {
        match self {
            Self::Named(_) => covered.acts.is_none(),
            Self::Scoped(_, own) => {
                let follow = |acts| own.acts.is_some_and(|own| BTreeSet::is_subset(acts, own));
                own.includes(covered) && covered.acts.is_none_or(follow)
            }
            Self::RunIn(_) => false,
        }
    }

    pub(super) fn command(&self) -> &'a str {
        match self {
            Self::Named(name) | Self::Scoped(name, _) => name,
            Self::RunIn(_) => RUN,
        }
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
