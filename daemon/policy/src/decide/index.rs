//! Which rules speak of whom and of what, found without a look at every rule.
//!
//! Rules are known by their place in the order in which they decide. Each caller and each name has the
//! set of places that speak of it; what decides is the first place in both. All of it is made once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use remit_common::builtin::COMMANDS;
use remit_common::wire::Effect;

use crate::decide::Who;
use crate::model::command::Command;
use crate::model::glob::Glob;
use crate::model::names::RUN;
use crate::model::rule::{Grantees, Principal, reaches};
use crate::model::scope::Scope;

/// A set of places: words of 64 bits that are not zero, by number. As large as what is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Places(Vec<(usize, u64)>);

/// The rules of one kind, by whom and by what they speak of.
#[derive(Debug)]
pub(crate) struct Index {
    principals: BTreeMap<Principal, Places>,
    /// Sorted.
    names: Vec<(String, Places)>,
    words: usize,
}

/// Where the names stand that a pattern is about: those that it matches, and the built-in commands
/// that its `run` may stand for.
struct Matched {
    names: Vec<usize>,
    implied: Vec<usize>,
}

/// The places that speak of one caller: one bit each.
pub(crate) struct Speaking(Vec<u64>);

impl Places {
    /// Adds a place that is none before those that are in.
    fn add(&mut self, place: usize) {
        let (word, bit) = (place / 64, 1 << (place % 64));
        match self.0.last_mut() {
            Some((last, bits)) if *last == word => *bits |= bit,
            _ => self.0.push((word, bit)),
        }
    }
}

impl Index {
    /// Of rules in the order in which they decide. `implies` tells of a place whether its speaking of
    /// `run` is about the built-in commands too. A rule of a scope speaks of the commands that have all
    /// its arguments; a pattern of one speaks of commands that change the host only where the effect given
    /// with it is `change`.
    pub(crate) fn new<'a>(
        commands: &BTreeMap<String, Arc<Command>>,
        rules: impl Iterator<Item = (&'a Grantees, &'a [Glob], &'a Scope, Effect)>,
        implies: impl Fn(usize) -> bool,
    ) -> Self {
        let builtins = COMMANDS.iter().map(|builtin| builtin.name);
        let known = commands
            .keys()
            .map(String::as_str)
            .chain(builtins)
            .chain([RUN]);
        let mut names: Vec<_> = known
            .map(|name| (name.to_owned(), Places::default()))
            .collect();
        names.sort();
        let mut index = Self {
            principals: BTreeMap::new(),
            names,
            words: 0,
        };
        // Most rules share a few patterns: each is matched once.
        let mut matched: BTreeMap<(&Glob, Vec<&str>, bool), Matched> = BTreeMap::new();
        for (place, (to, globs, scope, patterns)) in rules.enumerate() {
            index.words = place / 64 + 1;
            let members = to.members.iter().copied().map(Principal::User);
            let all: BTreeSet<Principal> = to.ids.keys().copied().chain(members).collect();
            for one in all {
                index.principals.entry(one).or_default().add(place);
            }
            for glob in globs {
                let args: Vec<&str> = scope.args().map(|(name, _)| name).collect();
                let suits = |name: &str| {
                    let command = commands.get(name);
                    let effect = command.map_or(Effect::Read, |command| command.effect);
                    let suits =
                        scope.is_any() || command.is_some_and(|command| scope.suits(command));
                    suits && reaches(glob, effect, patterns)
                };
                let found = matched.entry((glob, args, patterns == Effect::Change));
                let found = found.or_insert_with(|| index.find(glob, suits));
                let implied: &[usize] = if implies(place) { &found.implied } else { &[] };
                for at in found.names.iter().chain(implied) {
                    if let Some((_, places)) = index.names.get_mut(*at) {
                        places.add(place);
                    }
                }
            }
        }
        index
    }

    fn find(&self, glob: &Glob, suits: impl Fn(&str) -> bool) -> Matched {
        let builtins = COMMANDS.iter().map(|builtin| builtin.name);
        let builtins = builtins.filter(|name| suits(name));
        let builtins = builtins.filter_map(|name| self.position(name));
        let names = self.matching(glob).filter(|name| suits(name));
        let names = names.filter_map(|name| self.position(name));
        Matched {
            names: names.collect(),
            implied: match glob.matches(RUN) {
                true => builtins.collect(),
                false => Vec::new(),
            },
        }
    }

    fn position(&self, name: &str) -> Option<usize> {
        let found = self
            .names
            .binary_search_by(|(known, _)| known.as_str().cmp(name));
        found.ok()
    }

    /// The names that there are and that it matches.
    pub(crate) fn matching<'a>(&'a self, glob: &'a Glob) -> impl Iterator<Item = &'a str> {
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

    /// What speaks of this caller.
    pub(crate) fn of(&self, who: Who<'_>) -> Speaking {
        let groups = who.gids.iter().copied().map(Principal::Group);
        let all = [Principal::User(who.uid)].into_iter().chain(groups);
        self.of_all(all)
    }

    /// The rules that speak of one.
    pub(crate) fn rules_of(&self, principal: Principal) -> Option<&Places> {
        self.principals.get(&principal)
    }

    /// What speaks of any of these.
    pub(crate) fn of_all(&self, principals: impl Iterator<Item = Principal>) -> Speaking {
        let mut speaking = vec![0; self.words];
        for places in principals.filter_map(|one| self.principals.get(&one)) {
            for (word, bits) in &places.0 {
                if let Some(all) = speaking.get_mut(*word) {
                    *all |= bits;
                }
            }
        }
        Speaking(speaking)
    }

    /// The places that speak of this name too, in order.
    pub(crate) fn places<'a>(
        &'a self,
        speaking: &'a Speaking,
        name: &str,
    ) -> impl Iterator<Item = usize> + use<'a> {
        let found = self.position(name).and_then(|at| self.names.get(at));
        let of_name = found.into_iter().flat_map(|(_, places)| &places.0);
        of_name.flat_map(|(word, bits)| {
            let both = bits & speaking.0.get(*word).copied().unwrap_or_default();
            ones(both).map(move |bit| word * 64 + bit)
        })
    }
}

/// The numbers of the bits that are set, the lowest first.
fn ones(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = (bits != 0).then_some(bits.trailing_zeros() as usize)?;
        bits &= bits - 1;
        Some(lowest)
    })
}
