//! All rules, commands and profiles together, in the order in which they decide.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use remit_common::wire::Effect;

use crate::decide::index::Index;
use crate::model::approval::Approval;
use crate::model::command::Command;
use crate::model::names::RUN;
use crate::model::profile::Profile;
use crate::model::rule::{DenyRule, GrantRule, Grantees, RuleId};

/// All rules of all files, checked and resolved. It never changes.
#[derive(Debug)]
pub struct Policy {
    /// The strictest first.
    pub(crate) grants: Vec<GrantRule>,
    /// By file name and line.
    pub(crate) denies: Vec<DenyRule>,
    pub(crate) commands: BTreeMap<String, Arc<Command>>,
    pub(crate) profiles: BTreeMap<String, Arc<Profile>>,
    pub(crate) read: Arc<Profile>,
    pub(crate) granting: Index,
    pub(crate) denying: Index,
    digest_input: Vec<u8>,
    groups_named: BTreeSet<u32>,
}

/// What a policy is made of, in any order.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) grants: Vec<GrantRule>,
    pub(crate) denies: Vec<DenyRule>,
    pub(crate) commands: BTreeMap<String, Arc<Command>>,
    /// Those that files define; `read`, `strict` and `host` are added.
    pub(crate) profiles: BTreeMap<String, Arc<Profile>>,
    pub(crate) digest_input: Vec<u8>,
}

impl Policy {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts {
            mut grants,
            mut denies,
            commands,
            mut profiles,
            digest_input,
        } = parts;
        grants.sort_by(|a, b| a.rank().cmp(&b.rank()));
        denies.sort_by(|a, b| a.id.place().cmp(&b.id.place()));
        let read = Arc::new(Profile::read());
        for profile in [
            Arc::clone(&read),
            Profile::strict().into(),
            Profile::host().into(),
        ] {
            profiles.insert(profile.name.clone(), profile);
        }
        let gids_of_grants = grants.iter().flat_map(|rule| rule.to.gids());
        let gids_of_denies = denies.iter().flat_map(|rule| rule.to.gids());
        let groups_named = gids_of_grants.chain(gids_of_denies).collect();
        let granting = Index::new(
            &commands,
            grants.iter().map(|rule| {
                (
                    &rule.to,
                    rule.allow.as_slice(),
                    &rule.scope,
                    rule.patterns(),
                )
            }),
            |place| grants.get(place).is_some_and(GrantRule::run_is_builtins),
        );
        let denying = Index::new(
            &commands,
            denies
                .iter()
                .map(|rule| (&rule.to, rule.deny.as_slice(), &rule.scope, Effect::Change)),
            |_| true,
        );
        Self {
            grants,
            denies,
            commands,
            profiles,
            read,
            granting,
            denying,
            digest_input,
            groups_named,
        }
    }

    /// What a digest of this policy covers: every source by name and bytes, and
    /// what every name in it stood for. Equal bytes, equal verdicts.
    pub fn digest_input(&self) -> &[u8] {
        &self.digest_input
    }

    /// Every gid that a rule names: a change of membership in another group
    /// changes no verdict.
    pub fn groups_named(&self) -> &BTreeSet<u32> {
        &self.groups_named
    }

    /// The grants that ask for an approval, the strictest first.
    pub fn asking(&self) -> impl Iterator<Item = Asking<'_>> {
        self.grants.iter().filter_map(|rule| {
            Some(Asking {
                rule: &rule.id,
                approval: rule.approval.as_ref()?,
                to: &rule.to,
            })
        })
    }

    /// Pairs of grants that ask for an approval of the same calls of the same people: the approver must be
    /// somebody whom both ask. At most as many as `most`.
    pub fn asking_together(&self, most: usize) -> Vec<[Asking<'_>; 2]> {
        let asking: Vec<(&GrantRule, Asking<'_>)> = self
            .grants
            .iter()
            .filter_map(|rule| {
                let asking = Asking {
                    rule: &rule.id,
                    approval: rule.approval.as_ref()?,
                    to: &rule.to,
                };
                Some((rule, asking))
            })
            .take(most)
            .collect();
        let pairs = asking.iter().enumerate().flat_map(|(at, one)| {
            let others = asking.iter().skip(at + 1);
            others.map(move |other| (one, other))
        });
        let both = pairs.filter(|((one, _), (other, _))| {
            let mut people = one.to.ids.keys();
            people.any(|principal| other.to.ids.contains_key(principal)) && self.meet(one, other)
        });
        both.map(|((_, one), (_, other))| [*one, *other])
            .take(most)
            .collect()
    }

    /// Whether there are calls that both rules can be about.
    fn meet(&self, one: &GrantRule, other: &GrantRule) -> bool {
        let runs = |rule: &GrantRule| rule.allows(RUN, Effect::Read);
        let same_run = one.profile.name == other.profile.name && runs(one) && runs(other);
        let mut commands = self.commands.values();
        same_run
            || commands.any(|command| {
                let about = |rule: &GrantRule| {
                    rule.allows(&command.name, command.effect) && rule.scope.suits(command)
                };
                about(one) && about(other)
            })
    }

    /// How many grants and denials there are.
    pub fn rules(&self) -> usize {
        self.grants.len().saturating_add(self.denies.len())
    }

    /// The commands that files define, by name.
    pub fn commands(&self) -> impl Iterator<Item = &Arc<Command>> {
        self.commands.values()
    }

    /// The command of this name that a file defines.
    pub fn command(&self, name: &str) -> Option<&Arc<Command>> {
        self.commands.get(name)
    }

    /// Every profile: `read`, `strict` and `host`, then those that files define, by name.
    pub fn profiles(&self) -> impl Iterator<Item = &Arc<Profile>> {
        const FIRST: [&str; 3] = ["read", "strict", "host"];
        let first = FIRST.iter().filter_map(|name| self.profiles.get(*name));
        let others = self.profiles.values();
        first.chain(others.filter(|profile| !FIRST.contains(&profile.name.as_str())))
    }

    /// The profile of this name.
    pub fn profile(&self, name: &str) -> Option<&Arc<Profile>> {
        self.profiles.get(name)
    }
}

/// A grant that asks for an approval.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// Which.
    pub rule: &'a RuleId,
    /// What it asks for.
    pub approval: &'a Approval,
    to: &'a Grantees,
}

impl Asking<'_> {
    /// Uids of whom it is about.
    pub fn uids(&self) -> impl Iterator<Item = u32> {
        self.to.uids()
    }

    /// Gids of whom it is about.
    pub fn gids(&self) -> impl Iterator<Item = u32> {
        self.to.gids()
    }
}

impl GrantRule {
    /// The strictest is the least: one that asks for approval, the soonest void; then by file name and line.
    fn rank(&self) -> (u64, (&str, &str, usize)) {
        let approval = self.approval.as_ref();
        let void = approval.map_or(u64::MAX, |approval| approval.expires_s().into());
        (void, self.id.place())
    }
}
