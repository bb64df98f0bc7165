//! Finds the rules about a caller and a name without a look at every rule. Each caller and each name has a set of rule
//! numbers, which are in the order of decision. The first in both sets decides. The index is built once. It also
//! says whether a rule covers a call with its arguments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use remit_common::builtin::COMMANDS;

use crate::decide::CallerIds;
use crate::model::command::Command;
use crate::model::glob::Glob;
use crate::model::policy::{CHANGE, Named, RUN};
use crate::model::rule::{
    GrantRule, Grantees, Nature, Patterns, Principal, can_be_scoped, implies, reaches,
};
use crate::model::scope::Scope;

/// A sparse set of positions: 64-bit words that are not zero, by number.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PositionSet(Vec<(usize, u64)>);

#[derive(Debug)]
pub struct Index {
    principals: BTreeMap<Principal, PositionSet>,
    names: Vec<(String, PositionSet)>,
    words: usize,
}

/// Positions of the names that a pattern is about: those that match, and built-in commands that its `run` may imply.
struct Matched {
    names: Vec<usize>,
    implied: Vec<usize>,
}

pub struct CallerRules(Vec<u64>);

impl PositionSet {
    fn add(&mut self, position: usize) {
        let (word, bit) = (position / 64, 1 << (position % 64));
        match self.0.last_mut() {
            Some((last, bits)) if *last == word => *bits |= bit,
            _ => self.0.push((word, bit)),
        }
    }
}

impl Index {
    /// Indexes rules in the order of decision. `implies`: the rule's `run` includes the built-in commands. A rule with
    /// a scope is about commands with all its arguments, its patterns about those that they reach.
    pub fn new<'a>(
        commands: &BTreeMap<String, Arc<Command>>,
        rules: impl Iterator<Item = (&'a Grantees, &'a [Glob], &'a Scope, Patterns<'a>)>,
        implies: impl Fn(usize) -> bool,
    ) -> Self {
        let builtins = COMMANDS.iter().map(|builtin| builtin.name);
        let known = commands
            .keys()
            .map(String::as_str)
            .chain(builtins)
            .chain([RUN, CHANGE]);
        let mut names: Vec<_> = known
            .map(|name| (name.to_owned(), PositionSet::default()))
            .collect();
        names.sort();
        let mut index = Self {
            principals: BTreeMap::new(),
            names,
            words: 0,
        };
        let beyond = commands.values().filter_map(|one| match Nature::of(one) {
            Nature::LooksBeyond { file } => Some(file),
            Nature::Looks
            | Nature::LooksUnconfined
            | Nature::Inspects
            | Nature::Changes
            | Nature::OneOff
            | Nature::Commits => None,
        });
        let beyond: BTreeSet<&str> = beyond.collect();
        // Most rules share a few patterns, each matched once. A rule's file matters only for commands beyond 'read'.
        let shared = |patterns: Patterns<'a>| match patterns {
            Patterns::Looking { file } if !beyond.contains(file) => Patterns::Looking { file: "" },
            own @ (Patterns::Denials | Patterns::All | Patterns::Looking { .. }) => own,
        };
        let mut matched: BTreeMap<(&Glob, Vec<&str>, Patterns<'_>), Matched> = BTreeMap::new();
        for (position, (to, globs, scope, patterns)) in rules.enumerate() {
            index.words = position / 64 + 1;
            let members = to.members.iter().copied().map(Principal::User);
            let all: BTreeSet<Principal> = to.ids.keys().copied().chain(members).collect();
            for one in all {
                index.principals.entry(one).or_default().add(position);
            }
            for glob in globs {
                let args: Vec<&str> = scope.args().map(|(name, _)| name).collect();
                let suits = |name: &str| {
                    let command = commands.get(name);
                    let nature = match command {
                        Some(command) => Nature::of(command),
                        None if name == CHANGE => Nature::OneOff,
                        None => Nature::Looks,
                    };
                    let suits = match command {
                        Some(command) => scope.suits(Named::Command(command)),
                        None => can_be_scoped(scope, glob, name, patterns),
                    };
                    suits && reaches(glob, nature, patterns)
                };
                let found = matched.entry((glob, args, shared(patterns)));
                let found = found.or_insert_with(|| index.find(glob, scope, suits));
                let implied: &[usize] = if implies(position) {
                    &found.implied
                } else {
                    &[]
                };
                for at in found.names.iter().chain(implied) {
                    if let Some((_, positions)) = index.names.get_mut(*at) {
                        positions.add(position);
                    }
                }
            }
        }
        index
    }

    fn find(&self, glob: &Glob, scope: &Scope, suits: impl Fn(&str) -> bool) -> Matched {
        let builtins = COMMANDS.iter().map(|builtin| builtin.name);
        let builtins = builtins.filter(|name| implies(scope, glob, name));
        let builtins = builtins.filter_map(|name| self.position(name));
        let names = self.matching(glob).filter(|name| suits(name));
        let names = names.filter_map(|name| self.position(name));
        Matched {
            names: names.collect(),
            implied: builtins.collect(),
        }
    }

    fn position(&self, name: &str) -> Option<usize> {
        let found = self
            .names
            .binary_search_by(|(known, _)| known.as_str().cmp(name));
        found.ok()
    }

    pub fn matching<'a>(&'a self, glob: &'a Glob) -> impl Iterator<Item = &'a str> {
        let prefix = glob.prefix();
        let start = self
            .names
            .partition_point(|(name, _)| name.as_str() < prefix);
        let from = self.names.get(start..).unwrap_or_default();
        from.iter()
            .map(|(name, _)| name.as_str())
            .take_while(move |name| name.starts_with(prefix))
            .filter(|name| glob.matches(name))
    }

    pub fn of(&self, caller: CallerIds<'_>) -> CallerRules {
        let groups = caller.gids.iter().copied().map(Principal::Group);
        let all = [Principal::User(caller.uid)].into_iter().chain(groups);
        self.of_all(all)
    }

    pub fn rules_of(&self, principal: Principal) -> Option<&PositionSet> {
        self.principals.get(&principal)
    }

    pub fn of_all(&self, principals: impl Iterator<Item = Principal>) -> CallerRules {
        let mut speaking = vec![0; self.words];
        for positions in principals.filter_map(|one| self.principals.get(&one)) {
            for (word, bits) in &positions.0 {
                if let Some(all) = speaking.get_mut(*word) {
                    *all |= bits;
                }
            }
        }
        CallerRules(speaking)
    }

    /// Returns the positions that are also about this name, in order.
    pub fn positions<'a>(
        &'a self,
        speaking: &'a CallerRules,
        name: &str,
    ) -> impl Iterator<Item = usize> + use<'a> {
        let found = self.position(name).and_then(|at| self.names.get(at));
        let of_name = found.into_iter().flat_map(|(_, positions)| &positions.0);
        of_name.flat_map(|(word, bits)| {
            let both = bits & speaking.0.get(*word).copied().unwrap_or_default();
            ones(both).map(move |bit| word * 64 + bit)
        })
    }
}

fn ones(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = (bits != 0).then_some(bits.trailing_zeros() as usize)?;
        bits &= bits - 1;
        Some(lowest)
    })
}

/// A named command, and the arguments of a call.
pub type Called<'a> = (Named<'a>, &'a [(String, String)]);

impl<'a> Named<'a> {
    pub fn with(self, args: &'a [(String, String)]) -> Called<'a> {
        (self, args)
    }
}

impl GrantRule {
    /// Returns true if its scope covers this call. `None` is a run of any program.
    pub fn covers(&self, call: Option<Called<'_>>) -> bool {
        let covers = |(named, args): Called<'_>| self.is_about(named, args);
        self.scope.is_any() || call.is_some_and(covers)
    }

    /// Returns true if it covers this call, or its approval or its `confirm` is needed, whichever rule allows the call: one
    /// value of each argument is enough, so one more value takes no approval away.
    pub fn counts_for(&self, call: Option<Called<'_>>) -> bool {
        let is_strict = self.approval.is_some() || self.confirm_s.is_some();
        let touches = |(named, args): Called<'_>| self.scope.touches(named, args);
        self.covers(call) || (is_strict && call.is_some_and(touches))
    }
}

pub fn lists(rule: &GrantRule, name: &[u8]) -> bool {
    rule.env.iter().any(|listed| listed.as_bytes() == name)
}
