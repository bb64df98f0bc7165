//! Data of rules after loading: names resolved, everything checked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use remit_common::builtin::{self, COMMANDS};
use remit_common::wire::Effect;
use remit_plan::PlanPath;
use serde::{Deserialize, Serialize};

use crate::decide::{Called, CallerIds};
use crate::model::approval::Approval;
use crate::model::command::{Command, CommitUse};
use crate::model::glob::Glob;
use crate::model::policy::{CHANGE, Named, RUN};
use crate::model::profile::{Base, Profile};
use crate::model::scope::Scope;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RuleId {
    pub file: String,
    pub line: usize,
    pub name: Option<String>,
}

impl RuleId {
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
    /// For a denial: uids of the members of its groups by the user database, because a process can leave a group (user
    /// namespace and setgroups(2)). A subordinate uid (subuid(5)) has no account, so the socket refuses it.
    pub members: BTreeSet<u32>,
    /// As written, including names that do not exist.
    pub words: Vec<String>,
}

impl GrantRule {
    /// Returns true if it grants one-off changes: it names them, and asks for an approval.
    pub fn allows_one_off(&self) -> bool {
        self.approval.is_some() && self.allows(CHANGE, Nature::OneOff)
    }

    /// Returns true if it allows this name to its subjects; with a scope, maybe not with all arguments.
    pub fn allows(&self, name: &str, nature: Nature<'_>) -> bool {
        let by = |glob: &Glob| self.allows_by(glob, name, nature);
        self.allow.iter().any(by)
    }

    pub fn allows_by(&self, glob: &Glob, name: &str, nature: Nature<'_>) -> bool {
        let matches = glob.matches(name) && self.patterns_reach(glob, nature);
        let implied = self.run_is_builtins() && implies(&self.scope, glob, name);
        (matches && can_be_scoped(&self.scope, glob, name, self.patterns())) || implied
    }

    /// Returns true if an entry of `allow` can include a command of this nature. Unless the rule says so, a pattern
    /// includes no command that changes the host or that runs without a sandbox. Nor does it include one of another
    /// file with more access than the profile `read`. So the name of a new command is never enough for a grant. A
    /// one-off change is never included, whatever the rule says: only its whole name grants it.
    pub fn patterns_reach(&self, glob: &Glob, nature: Nature<'_>) -> bool {
        reaches(glob, nature, self.patterns())
    }

    /// Returns true if its scope is about these arguments: with an approval in every spelling, otherwise as written.
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

    /// Returns the calls of a command that it is about.
    pub fn coverage(&self, nature: Nature<'_>) -> Coverage<'_> {
        Coverage {
            scope: &self.scope,
            paths: match nature {
                Nature::Commits => &self.paths,
                _ => &[],
            },
            acts: Some(&self.acts).filter(|acts| nature == Nature::Commits && !acts.is_empty()),
        }
    }

    /// Checks that it allows no undo without an approval, and no commit without an approval or paths.
    pub(super) fn check_commits(
        &self,
        commands: &BTreeMap<String, Arc<Command>>,
    ) -> Result<(), String> {
        let allowed = commands
            .values()
            .filter(|command| self.allows(&command.name, Nature::of(command)));
        let is_wrong = |used| match used {
            CommitUse::Commit => self.paths.is_empty(),
            CommitUse::Undo => true,
            CommitUse::Recover => false,
        };
        let mut uses = allowed.filter_map(|command| command.commit_use());
        if self.approval.is_none() && uses.any(is_wrong) {
            return Err("commits or undoes without an approval".to_owned());
        }
        let mut acts = self.acts.iter().filter_map(|name| commands.get(name));
        match acts.find_map(|command| command.cannot_follow()) {
            Some(why) => Err(format!(
                "has a command in 'acts' that cannot be there: {why}"
            )),
            None => Ok(()),
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
        let can = |glob: &Glob| can_be_scoped(scope, glob, name, Patterns::Denials);
        let speaks = |glob: &Glob| glob.matches(name) && can(glob) || implies(scope, glob, name);
        self.deny.iter().any(speaks)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Patterns<'a> {
    /// Of denials: all that their text matches.
    Denials,
    All,
    /// Commands that only read, in at most the profile `read`, or defined in the rule's file: its author knew them.
    Looking {
        file: &'a str,
    },
}

impl Patterns<'_> {
    /// Returns true if an entry of a rule about arguments includes built-in commands: in grants a whole name only.
    pub fn reach_builtins(self, glob: &Glob) -> bool {
        self == Self::Denials || glob.literal().is_some()
    }
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
    /// It only reads, by a right of root's in a sandbox.
    Inspects,
    Changes,
    /// Any program or script may be asked for.
    OneOff,
    /// It changes any files, as a plan says, or undoes that.
    Commits,
}

impl<'a> Nature<'a> {
    pub fn of(command: &'a Command) -> Self {
        match command.effect {
            _ if command.is_commit() => Self::Commits,
            Effect::Change => Self::Changes,
            Effect::Read if command.profile.base == Base::Host => Self::LooksUnconfined,
            Effect::Read if command.profile.inspect.is_some() => Self::Inspects,
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
        (_, Patterns::Denials) => true,
        (
            Nature::Inspects | Nature::OneOff | Nature::Commits,
            Patterns::All | Patterns::Looking { .. },
        ) => false,
        (_, Patterns::All) | (Nature::Looks, _) => true,
        (Nature::LooksBeyond { file: own }, Patterns::Looking { file }) => own == file,
        (Nature::LooksUnconfined | Nature::Changes, Patterns::Looking { .. }) => false,
    };
    by_pattern || glob.literal().is_some()
}

/// Returns true if a rule of this scope can be about the name by this entry.
pub fn can_be_scoped(scope: &Scope, glob: &Glob, name: &str, patterns: Patterns<'_>) -> bool {
    match builtin(name) {
        _ if scope.is_any() => true,
        Some(builtin) => patterns.reach_builtins(glob) && scope.suits(Named::Builtin(builtin)),
        None => name != RUN && name != CHANGE,
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
    /// Of commands that commit: all paths of a plan lie beneath these. Empty means any path.
    pub paths: Vec<PlanPath>,
    /// Of commands that commit: seconds within which somebody confirms it; otherwise it is undone.
    pub confirm_s: Option<u32>,
    /// Commands that can follow a commit or an undo, by their whole names.
    pub acts: BTreeSet<String>,
}

/// The calls that a grant is about: with these arguments, and plans beneath these paths. `acts`: what can follow them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Coverage<'a> {
    pub scope: &'a Scope,
    pub paths: &'a [PlanPath],
    pub acts: Option<&'a BTreeSet<String>>,
}

impl Coverage<'_> {
    #[must_use]
    pub fn without_acts(self) -> Self {
        Self { acts: None, ..self }
    }

    pub fn is_any(&self) -> bool {
        self.scope.is_any() && self.paths.is_empty()
    }

    /// Returns true if it covers all calls that the other one covers, as far as that is known.
    pub fn includes(&self, other: &Self) -> bool {
        let is_beneath = |path: &PlanPath| self.paths.iter().any(|own| path.is_in(own.as_bytes()));
        let paths = !other.paths.is_empty() && other.paths.iter().all(is_beneath);
        self.scope.includes(other.scope) && (self.paths.is_empty() || paths)
    }
}

/// `unit: nginx.service; paths: /etc/nginx, /srv/app; acts: service.reload`.
impl fmt::Display for Coverage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths: Vec<String> = self.paths.iter().map(ToString::to_string).collect();
        let acts: Vec<&str> = self
            .acts
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        let parts = [
            (!self.scope.is_any()).then(|| self.scope.to_string()),
            (!paths.is_empty()).then(|| format!("paths: {}", paths.join(", "))),
            (!acts.is_empty()).then(|| format!("acts: {}", acts.join(", "))),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join("; "))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DenyRule {
    pub id: RuleId,
    pub to: Grantees,
    pub deny: Vec<Glob>,
    pub scope: Scope,
}

impl DenyRule {
    /// Returns true if this call is in its scope. `None` is a run of any program.
    pub fn touches(&self, call: Option<Called<'_>>) -> bool {
        let touches = |(named, args): Called<'_>| self.scope.touches(named, args);
        self.scope.is_any() || call.is_some_and(touches)
    }
}
