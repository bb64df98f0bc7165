//! Rules as they stand after loading: names resolved, everything checked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use remit_common::builtin::COMMANDS;
use remit_common::wire::Effect;

use crate::decide::Who;
use crate::model::approval::Approval;
use crate::model::glob::Glob;
use crate::model::names::RUN;
use crate::model::profile::{Base, Profile};
use crate::model::scope::Scope;

/// Where a rule stands, and its name if it has one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleId {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) name: Option<String>,
}

impl RuleId {
    /// The rule's own `name`.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The name of the [`Source`](crate::Source) it was read from.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line of its header in that file, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// Where it comes among others: by the name of its file as drop-ins are ordered, whatever the directory;
    /// of two files of one name by the directory; then by line.
    pub(crate) fn place(&self) -> (&str, &str, usize) {
        let name = self.file.rsplit('/').next().unwrap_or_default();
        (name, &self.file, self.line)
    }
}

/// `operators-look (/etc/remit/policy.d/20-web.toml:3)`, or without a name
/// `/etc/remit/policy.d/20-web.toml:3`.
impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} ({}:{})", self.file, self.line),
            None => write!(f, "{}:{}", self.file, self.line),
        }
    }
}

/// One that a rule speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Principal {
    /// The user of this uid.
    User(u32),
    /// Whoever has this gid.
    Group(u32),
}

/// Those a rule speaks of. Empty means nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Grantees {
    /// Each with the word that stands for it.
    pub(crate) ids: BTreeMap<Principal, String>,
    /// Of a denial: the users that the user database has in its groups, by uid. A process can leave a
    /// group (a user namespace and setgroups(2)), but not its uid.
    pub(crate) members: BTreeSet<u32>,
    /// Each as it was written, also who does not exist.
    pub(crate) words: Vec<String>,
}

impl GrantRule {
    /// Whether it allows this name, to whom it is about; of a scope, maybe not with all arguments.
    pub(crate) fn allows(&self, name: &str, effect: Effect) -> bool {
        let by = |glob: &Glob| self.allows_by(glob, name, effect);
        can_be_scoped(&self.scope, name) && self.allow.iter().any(by)
    }

    /// Whether it is this of its patterns that allows the name, of a command of this effect.
    pub(crate) fn allows_by(&self, glob: &Glob, name: &str, effect: Effect) -> bool {
        let matches = glob.matches(name) && self.patterns_reach(glob, effect);
        matches || (self.run_is_builtins() && glob.matches(RUN) && is_builtin(name))
    }

    /// Whether an entry of `allow` can stand for a command of this effect: a pattern does not stand for one
    /// that changes the host, unless the rule says so. A new command is then nobody's by its name alone.
    pub(crate) fn patterns_reach(&self, glob: &Glob, effect: Effect) -> bool {
        reaches(glob, effect, self.patterns())
    }

    /// Which commands its patterns stand for: those that look, or with `change` all.
    pub(crate) fn patterns(&self) -> Effect {
        self.effect.unwrap_or(Effect::Read)
    }

    /// Whether its `run` stands for the built-in commands too: they run in `read`, and who may run
    /// less than that is not given more.
    pub(crate) fn run_is_builtins(&self) -> bool {
        self.profile.base == Base::Read
    }
}

impl DenyRule {
    /// Whether it denies this name, to whom it is about; of a scope, maybe not with all arguments.
    pub(crate) fn denies(&self, name: &str) -> bool {
        let speaks = |glob: &Glob| glob.matches(name) || (glob.matches(RUN) && is_builtin(name));
        can_be_scoped(&self.scope, name) && self.deny.iter().any(speaks)
    }
}

/// Whether an entry of `allow` in a rule whose patterns stand for these can be about a command of `effect`.
pub(crate) fn reaches(glob: &Glob, effect: Effect, patterns: Effect) -> bool {
    effect == Effect::Read || patterns == Effect::Change || glob.literal().is_some()
}

/// Whether a rule of this scope can be about the name: only commands that files define have
/// arguments that rules know.
fn can_be_scoped(scope: &Scope, name: &str) -> bool {
    scope.is_any() || (name != RUN && !is_builtin(name))
}

fn is_builtin(name: &str) -> bool {
    COMMANDS.iter().any(|builtin| builtin.name == name)
}

impl Grantees {
    /// Whether the caller is one of them, by uid or by one of the gids.
    pub(crate) fn include(&self, who: Who<'_>) -> bool {
        let has = |gid: &u32| self.ids.contains_key(&Principal::Group(*gid));
        let by_uid = self.ids.contains_key(&Principal::User(who.uid));
        by_uid || self.members.contains(&who.uid) || who.gids.iter().any(has)
    }

    /// Whether each of them is one of the others, too.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        self.ids.keys().all(|one| other.ids.contains_key(one))
    }

    pub(crate) fn uids(&self) -> impl Iterator<Item = u32> {
        self.ids.keys().filter_map(|one| match one {
            Principal::User(uid) => Some(*uid),
            Principal::Group(_) => None,
        })
    }

    pub(crate) fn gids(&self) -> impl Iterator<Item = u32> {
        self.ids.keys().filter_map(|one| match one {
            Principal::Group(gid) => Some(*gid),
            Principal::User(_) => None,
        })
    }
}

/// A `[[grant]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GrantRule {
    pub(crate) id: RuleId,
    pub(crate) to: Grantees,
    pub(crate) allow: Vec<Glob>,
    /// What its patterns stand for, where it says so.
    pub(crate) effect: Option<Effect>,
    /// Of which calls; `run` and the built-in commands are in no scope but that of every call.
    pub(crate) scope: Scope,
    /// That of `run`; a named command has its own.
    pub(crate) profile: Arc<Profile>,
    pub(crate) env: BTreeSet<String>,
    pub(crate) approval: Option<Approval>,
    /// Commands of base `host` may run without approval.
    pub(crate) unconfined: bool,
}

/// A `[[deny]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DenyRule {
    pub(crate) id: RuleId,
    pub(crate) to: Grantees,
    pub(crate) deny: Vec<Glob>,
    /// Of which calls.
    pub(crate) scope: Scope,
}
