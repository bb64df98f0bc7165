//! Data of rules after loading: names resolved, everything checked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use remit_common::builtin::{self, COMMANDS};
use remit_common::wire::Effect;
use serde::{Deserialize, Serialize};

use crate::decide::CallerIds;
use crate::model::approval::Approval;
use crate::model::command::Command;
use crate::model::glob::Glob;
use crate::model::policy::{Named, RUN};
use crate::model::profile::{Base, Profile};
use crate::model::scope::Scope;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RuleId {
    pub file: String,
    pub line: usize,
    pub name: Option<String>,
}

impl RuleId {
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub fn file(&self) -> &str {
        &self.file
    }

    pub fn line(&self) -> usize {
        self.line
    }

    /// Returns its order key: by the file's name as drop-ins are ordered, then by directory, then by line.
    pub fn position(&self) -> (&str, &str, usize) {
        let name = self.file.rsplit('/').next().unwrap_or_default();
        (name, &self.file, self.line)
    }
}

/// `operators-look (/etc/remit/policy.d/20-web.toml:3)`, or without a name `/etc/remit/policy.d/20-web.toml:3`.
impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} ({}:{})", self.file, self.line),
            None => write!(f, "{}:{}", self.file, self.line),
        }
    }
}

/// The uid and gid that replace ids without a mapping (user_namespaces(7)).
const OVERFLOW: u32 = 65534;

/// Returns why an id can never be granted anything. Programs with signed ids read those from 2^31 on as -1 or
/// negative (CVE-2018-19788, CVE-2019-14287). The overflow id can be any user.
pub fn refused_id(id: u32) -> Option<&'static str> {
    match id {
        OVERFLOW => Some("65534 means every id without a mapping"),
        0x8000_0000.. => Some("ids end at 2147483647"),
        _ => None,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Principal {
    User(u32),
    Group(u32),
}

/// The subjects of a rule. Empty means nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grantees {
    pub ids: BTreeMap<Principal, String>,
    /// For a denial: uids of the members of its groups by the user database, because a process can leave a group
    /// (user namespace and setgroups(2)). It can also change to a subordinate uid (subuid(5)), but the socket refuses
    /// uids without an account.
    pub members: BTreeSet<u32>,
    /// As written, including names that do not exist.
    pub words: Vec<String>,
}

impl GrantRule {
    /// Returns true if it allows this name to its subjects; with a scope, maybe not with all arguments.
    pub fn allows(&self, name: &str, nature: Nature<'_>) -> bool {
        let by = |glob: &Glob| self.allows_by(glob, name, nature);
        self.allow.iter().any(by)
    }

    pub fn allows_by(&self, glob: &Glob, name: &str, nature: Nature<'_>) -> bool {
        let matches = glob.matches(name) && self.patterns_reach(glob, nature);
        let implied = self.run_is_builtins() && implies(&self.scope, glob, name);
        (matches && can_be_scoped(&self.scope, glob, name)) || implied
    }

    /// Returns true if an entry of `allow` can include a command of this nature. Unless the rule says so, a pattern
    /// includes no command that changes the host or that runs without a sandbox. Nor does it include one of another
    /// file with more access than the profile `read`. So the name of a new command is never enough for a grant.
    pub fn patterns_reach(&self, glob: &Glob, nature: Nature<'_>) -> bool {
        reaches(glob, nature, self.patterns())
    }

    /// Returns true if its scope is about these arguments. A rule that asks for an approval is about every spelling
    /// of a value, another rule only about the spelling that it has.
    pub fn is_about(&self, named: Named<'_>, args: &[(String, String)]) -> bool {
        match self.approval {
            Some(_) => self.scope.asks(named, args),
            None => self.scope.covers(named, args),
        }
    }

    pub fn patterns(&self) -> Patterns<'_> {
        match self.effect {
            Some(Effect::Change) => Patterns::All,
            Some(Effect::Read) | None => Patterns::Looking {
                file: &self.id.file,
            },
        }
    }

    /// Returns true if its `run` includes the built-in commands, which run in `read`: not if the rule has less access.
    pub fn run_is_builtins(&self) -> bool {
        self.profile.base == Base::Read
    }

    /// The strictest is the least: with approval, the shortest expiry first; then by file name and line.
    pub(super) fn rank(&self) -> (u64, (&str, &str, usize)) {
        let approval = self.approval.as_ref();
        let void = approval.map_or(u64::MAX, |approval| approval.expires_s().into());
        (void, self.id.position())
    }
}

impl DenyRule {
    /// Returns true if it denies this name to its subjects; with a scope, maybe not with all arguments.
    pub fn denies(&self, name: &str) -> bool {
        let scope = &self.scope;
        let matches = |glob: &Glob| glob.matches(name) && can_be_scoped(scope, glob, name);
        let speaks = |glob: &Glob| matches(glob) || implies(scope, glob, name);
        self.deny.iter().any(speaks)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Patterns<'a> {
    All,
    /// Commands that only read, in at most the profile `read`, or defined in the rule's file: its author knew them.
    Looking {
        file: &'a str,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature<'a> {
    /// It only reads, and sees no more than in the profile `read`.
    Looks,
    /// It only reads, and its profile adds something to `read`.
    LooksBeyond {
        file: &'a str,
    },
    /// It only reads, by its author's word alone: no sandbox holds it.
    LooksUnconfined,
    Changes,
}

impl<'a> Nature<'a> {
    pub fn of(command: &'a Command) -> Self {
        match command.effect {
            Effect::Change => Self::Changes,
            Effect::Read if command.profile.base == Base::Host => Self::LooksUnconfined,
            Effect::Read if command.profile.adds_nothing_to_read() => Self::Looks,
            Effect::Read => Self::LooksBeyond {
                file: &command.id.file,
            },
        }
    }
}

/// Returns true if an entry of `allow` can be about a command of this nature, in a rule with these patterns.
pub fn reaches(glob: &Glob, nature: Nature<'_>, patterns: Patterns<'_>) -> bool {
    let by_pattern = match (nature, patterns) {
        (_, Patterns::All) | (Nature::Looks, _) => true,
        (Nature::LooksBeyond { file: own }, Patterns::Looking { file }) => own == file,
        (Nature::LooksUnconfined | Nature::Changes, Patterns::Looking { .. }) => false,
    };
    by_pattern || glob.literal().is_some()
}

/// Returns true if a rule of this scope can be about the name by this entry. A rule about arguments includes a built-in
/// command only by its whole name: until rules knew the arguments of these commands, its patterns never did.
pub fn can_be_scoped(scope: &Scope, glob: &Glob, name: &str) -> bool {
    match builtin(name) {
        _ if scope.is_any() => true,
        Some(builtin) => glob.literal().is_some() && scope.suits(Named::Builtin(builtin)),
        None => name != RUN,
    }
}

/// Returns true if an entry includes this built-in command because it includes `run`.
pub fn implies(scope: &Scope, glob: &Glob, name: &str) -> bool {
    scope.is_any() && glob.matches(RUN) && builtin(name).is_some()
}

pub fn builtin(name: &str) -> Option<&'static builtin::Command> {
    COMMANDS.iter().find(|builtin| builtin.name == name)
}

impl Grantees {
    pub fn include(&self, caller: CallerIds<'_>) -> bool {
        let has = |gid: &u32| self.ids.contains_key(&Principal::Group(*gid));
        let by_uid = self.ids.contains_key(&Principal::User(caller.uid));
        by_uid || self.members.contains(&caller.uid) || caller.gids.iter().any(has)
    }

    /// Returns true if each of the others is one of them, by an id or as a member.
    pub fn includes(&self, others: &Self) -> bool {
        others.is_within(self) && others.members.is_subset(&self.members)
    }

    pub fn is_within(&self, other: &Self) -> bool {
        self.ids.keys().all(|one| other.ids.contains_key(one))
    }

    pub fn uids(&self) -> impl Iterator<Item = u32> {
        self.ids.keys().filter_map(|one| match one {
            Principal::User(uid) => Some(*uid),
            Principal::Group(_) => None,
        })
    }

    pub fn gids(&self) -> impl Iterator<Item = u32> {
        self.ids.keys().filter_map(|one| match one {
            Principal::Group(gid) => Some(*gid),
            Principal::User(_) => None,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRule {
    pub id: RuleId,
    pub to: Grantees,
    pub allow: Vec<Glob>,
    /// The effect that its patterns include, if it says so.
    pub effect: Option<Effect>,
    /// `run` and the built-in commands are only in the scope of every call.
    pub scope: Scope,
    /// The profile of `run`; a named command has its own.
    #[serde(with = "crate::model::encoded::by_name")]
    pub profile: Arc<Profile>,
    pub env: BTreeSet<String>,
    pub approval: Option<Approval>,
    /// Commands of base `host` may run without approval.
    pub unconfined: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DenyRule {
    pub id: RuleId,
    pub to: Grantees,
    pub deny: Vec<Glob>,
    pub scope: Scope,
}
