//! Holds all rules, commands and profiles, in the order of decision, and resolves names in rules.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use remit_common::builtin::{self, Builtin};
use remit_common::refusal::Refusal;
use remit_common::wire::Effect;

use crate::decide::index::Index;
use crate::model::accepted::AcceptedPath;
use crate::model::approval::Approval;
use crate::model::command::Command;
use crate::model::profile::{Base, Profile};
use crate::model::rule::{self, DenyRule, GrantRule, Nature, Patterns};

/// All rules of all files, checked and resolved. It never changes.
#[derive(Debug)]
pub struct Policy {
    /// The strictest first.
    pub grants: Vec<GrantRule>,
    pub denies: Vec<DenyRule>,
    pub accepts: Vec<AcceptedPath>,
    pub commands: BTreeMap<String, Arc<Command>>,
    pub profiles: BTreeMap<String, Arc<Profile>>,
    pub read: Arc<Profile>,
    pub host: Arc<Profile>,
    pub granting: Index,
    pub denying: Index,
    digest: String,
    texts: String,
    groups_named: BTreeSet<u32>,
}

#[derive(Debug, Default)]
pub struct Parts {
    pub grants: Vec<GrantRule>,
    pub denies: Vec<DenyRule>,
    pub accepts: Vec<AcceptedPath>,
    pub commands: BTreeMap<String, Arc<Command>>,
    /// Those of files; `read`, `strict` and `host` are added.
    pub profiles: BTreeMap<String, Arc<Profile>>,
    pub digest: String,
    pub texts: String,
}

impl Policy {
    pub fn new(parts: Parts) -> Self {
        let Parts {
            mut grants,
            mut denies,
            accepts,
            commands,
            mut profiles,
            digest,
            texts,
        } = parts;
        grants.sort_by(|a, b| a.rank().cmp(&b.rank()));
        denies.sort_by(|a, b| a.id.position().cmp(&b.id.position()));
        let mut built_in = Profile::built_in();
        let read = Arc::new(Profile::read());
        built_in.insert(read.name.clone(), Arc::clone(&read));
        let host = Arc::new(Profile::host());
        built_in.insert(host.name.clone(), Arc::clone(&host));
        profiles.extend(built_in);
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
            |position| grants.get(position).is_some_and(GrantRule::run_is_builtins),
        );
        let denying = Index::new(
            &commands,
            denies.iter().map(|rule| {
                (
                    &rule.to,
                    rule.deny.as_slice(),
                    &rule.scope,
                    Patterns::Denials,
                )
            }),
            |_| true,
        );
        Self {
            grants,
            denies,
            accepts,
            commands,
            profiles,
            read,
            host,
            granting,
            denying,
            digest,
            texts,
            groups_named,
        }
    }

    /// Returns the digest of every source by name and bytes, and of every name's id. Equal digests: equal verdicts.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Returns the digest of every source by name and bytes alone. Equal for a policy whose names only mean other ids or
    /// addresses.
    pub fn texts(&self) -> &str {
        &self.texts
    }

    /// Returns every gid that a rule names. Membership in another group changes no verdict.
    pub fn groups_named(&self) -> &BTreeSet<u32> {
        &self.groups_named
    }

    /// Returns true if there are calls that both rules can be about.
    pub fn meet(&self, one: &GrantRule, other: &GrantRule) -> bool {
        self.meet_in(one, other, |_| true)
    }

    /// As [`Self::meet`], of the named commands only in these.
    pub fn meet_in(
        &self,
        one: &GrantRule,
        other: &GrantRule,
        can_be_both: impl Fn(Named<'_>) -> bool,
    ) -> bool {
        let runs = |rule: &GrantRule| rule.allows(RUN, Nature::Looks);
        let same_run = one.profile.name == other.profile.name && runs(one) && runs(other);
        let same_change = one.allows_one_off() && other.allows_one_off();
        let mut all = self.all_named();
        same_run
            || same_change
            || all.any(|named| {
                let about = |rule: &GrantRule| {
                    rule.allows(named.name(), named.nature()) && rule.scope.suits(named)
                };
                about(one) && about(other) && can_be_both(named)
            })
    }

    /// Returns true if a grant or an approval names this uid as a number: it is served without an account.
    pub fn names_number(&self, uid: u32) -> bool {
        let number = format!("#{uid}");
        let lists = |rule: &GrantRule| {
            let by = rule.approval.iter().flat_map(Approval::lists);
            by.chain([&rule.to])
                .any(|list| list.words.contains(&number))
        };
        self.grants.iter().any(lists)
    }

    /// Returns the table that accepts this path, if there is one.
    pub fn accepted(&self, agent: &str, goal: &str) -> Option<&AcceptedPath> {
        self.accepts.iter().find(|one| one.is_about(agent, goal))
    }

    /// Returns the names of rules and of accepted paths: no two have the same.
    pub fn rule_names(&self) -> impl Iterator<Item = &str> {
        let grants = self.grants.iter().map(|rule| &rule.id);
        let denies = self.denies.iter().map(|rule| &rule.id);
        let accepts = self.accepts.iter().map(|one| &one.id);
        let ids = grants.chain(denies).chain(accepts);
        ids.filter_map(|id| id.name.as_deref())
    }

    pub fn rules(&self) -> usize {
        self.grants.len().saturating_add(self.denies.len())
    }

    /// Returns true if a grant or a command can have something run in a profile of this base.
    pub fn uses(&self, base: Base) -> bool {
        self.grants.iter().any(|grant| grant.profile.base == base)
            || self
                .commands
                .values()
                .any(|command| command.profile.base == base)
    }

    pub fn commands(&self) -> impl Iterator<Item = &Arc<Command>> {
        self.commands.values()
    }

    pub fn command(&self, name: &str) -> Option<&Arc<Command>> {
        self.commands.get(name)
    }

    /// Returns every profile: `read`, `strict` and `host`, then those of files, by name.
    pub fn profiles(&self) -> impl Iterator<Item = &Arc<Profile>> {
        const FIRST: [&str; 3] = ["read", "strict", "host"];
        let first = FIRST.iter().filter_map(|name| self.profiles.get(*name));
        let others = self.profiles.values();
        first.chain(others.filter(|profile| !FIRST.contains(&profile.name.as_str())))
    }

    pub fn profile(&self, name: &str) -> Option<&Arc<Profile>> {
        self.profiles.get(name)
    }
}

/// Any program or script, in the rule's profile; also the built-in commands, which run in `read`.
pub const RUN: &str = "run";

/// A one-off change: any program or script, in any profile, by an approval of that run alone.
pub const CHANGE: &str = "change";

#[derive(Debug, Clone, Copy)]
pub enum Named<'a> {
    Builtin(&'static builtin::Command),
    Command(&'a Arc<Command>),
}

impl<'a> Named<'a> {
    pub fn name(&self) -> &'a str {
        match self {
            Self::Builtin(builtin) => builtin.name,
            Self::Command(command) => &command.name,
        }
    }

    pub fn nature(&self) -> Nature<'a> {
        match self {
            Self::Builtin(_) => Nature::Looks,
            Self::Command(command) => Nature::of(command),
        }
    }

    pub fn effect(&self) -> Effect {
        match self {
            Self::Builtin(_) => Effect::Read,
            Self::Command(command) => command.effect,
        }
    }

    /// Checks the names of a call's arguments; of a built-in command also their values. Errors: `invalid_args` or `too_large`,
    /// as the call would be refused if it were granted.
    pub fn check_names(&self, args: &[(String, String)]) -> Result<(), Refusal> {
        match self {
            Self::Builtin(builtin) => Builtin::parse(builtin.name, args).map(drop),
            Self::Command(command) => command.check_names(args),
        }
    }
}

impl Policy {
    pub fn named(&self, name: &str) -> Option<Named<'_>> {
        let defined = || self.commands.get(name).map(Named::Command);
        let builtin = rule::builtin(name).map(Named::Builtin);
        builtin.or_else(defined)
    }

    pub fn all_named(&self) -> impl Iterator<Item = Named<'_>> {
        let builtin = builtin::COMMANDS.iter().map(Named::Builtin);
        builtin.chain(self.commands.values().map(Named::Command))
    }

    pub fn nature_of(&self, name: &str) -> Nature<'_> {
        match name {
            CHANGE => Nature::OneOff,
            _ => self
                .named(name)
                .map_or(Nature::Looks, |named| named.nature()),
        }
    }

    pub fn profile_of<'a>(&'a self, named: Named<'a>) -> &'a Arc<Profile> {
        match named {
            Named::Builtin(_) => &self.read,
            Named::Command(command) => &command.profile,
        }
    }
}
