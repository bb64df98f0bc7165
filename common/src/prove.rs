//! The question to `remit-prove`, and what it answers to the daemon. Frames of `remit_policy::exchange` carry both.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::admin::{Grantee, NewGrant};
use crate::wire::Bytes;

pub const PROGRAM: &str = "remit-prove";

/// Which accounts could become root, or act as another account. Without `compared`, the answer is a report for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// That of the asking program: another may mean something else by the same bytes.
    pub release: String,
    /// The directory that is the machine's `/`.
    pub root: Bytes,
    /// `Policy::encode`.
    pub policy: Bytes,
    /// With it, the answer is `Result<Opened, String>`.
    pub compared: Option<Compared>,
    /// A user, or `%group` for a member of it alone. `None`: each agent.
    pub subject: Option<String>,
    /// Accounts that the tables of the machine may lack, as its user database knows them.
    pub accounts: Vec<KnownAccount>,
    /// Temporary grants in force.
    pub in_force: Vec<PermittedGrant>,
    /// Each change needs a person, whatever the rules and temporary grants say: `approval` of `[floor]` in `remit.toml`.
    pub asks_for_changes: bool,
    /// Groups of `remit.toml`, by name or as `#gid`.
    pub socket_group: String,
    pub admin_group: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownAccount {
    pub name: String,
    pub uid: u32,
    /// The primary one first.
    pub gids: Vec<u32>,
}

/// What a person permits, where the policy asks one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PermittedWhat {
    Call(PermittedCall),
    Grant(PermittedGrant),
}

/// One call, which the policy has decided about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermittedCall {
    pub uid: u32,
    pub command: String,
    pub args: Vec<(String, String)>,
}

/// Calls in advance, as far as the policy asks about them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermittedGrant {
    pub to: PermittedTo,
    /// Names of commands.
    pub commands: BTreeSet<String>,
    /// Arguments of each call, with exactly these values. Others are free.
    pub args: Vec<(String, String)>,
    /// Of a command that commits plans: beneath which paths. Empty: any that its rule allows.
    pub paths: Vec<Bytes>,
    /// `grant 3 of ann`.
    pub by: String,
    /// The command that ends it, if it is in force.
    pub ended_by: Option<String>,
    /// Milliseconds until it ends by itself.
    pub left_ms: u64,
    /// It ends sooner, after a number of runs.
    pub is_counted: bool,
    pub survives_reboot: bool,
}

impl PermittedGrant {
    /// Describes a grant of these commands that is to be given.
    pub fn new(grant: &NewGrant, commands: BTreeSet<String>, giver: &str) -> Self {
        let paths = grant.paths.iter();
        Self {
            to: match grant.to {
                Grantee::User { uid, .. } => PermittedTo::User(uid),
                Grantee::Group { gid, .. } => PermittedTo::Group(gid),
            },
            commands,
            args: grant.args.clone(),
            paths: paths.map(|path| path.as_bytes().to_vec().into()).collect(),
            by: format!("this grant of {giver}"),
            ended_by: None,
            left_ms: u64::from(grant.for_s).saturating_mul(1000),
            is_counted: grant.uses.is_some(),
            survives_reboot: grant.across_reboot,
        }
    }

    /// Describes it while it is in force.
    #[must_use]
    pub fn in_force(self, number: u64, giver: &str, left_ms: u64) -> Self {
        Self {
            by: format!("grant {number} of {giver}"),
            ended_by: Some(format!("remit revoke {number}")),
            left_ms,
            ..self
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PermittedTo {
    User(u32),
    Group(u32),
}

/// What would be different: only paths that this opens are answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// The policy before. `None`: the same.
    pub before: Option<Bytes>,
    /// Changes of the machine's files.
    pub changes: Vec<FileChange>,
    /// Calls that a person is asked to permit.
    pub permitted: Vec<PermittedWhat>,
    /// Time for all looks and proofs. A bound that was reached is in the answer.
    pub milliseconds: u64,
}

impl Compared {
    pub const fn patience(&self) -> Duration {
        Duration::from_millis(self.milliseconds)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    pub path: Bytes,
    /// `None`: it is removed.
    pub after: Option<FileAfter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileAfter {
    pub uid: u32,
    pub gid: u32,
    /// Permission, sticky and set-id bits.
    pub mode: u32,
    /// Capabilities that a program gives to its process: bits as in capabilities(7).
    pub capabilities: u64,
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// As it is: owner and mode alone change.
    Same,
    Directory,
    File(Bytes),
    /// A file whose bytes are not known here.
    Unknown,
    /// A link with this text.
    Link(Bytes),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    pub paths: Vec<OpenedPath>,
    /// Parts of the machine that were not looked at.
    pub unknown: usize,
    /// The bound that was reached, and where: more paths may be opened.
    pub incomplete: Option<String>,
    /// What else was not compared, in sentences.
    pub limits: Vec<String>,
}

impl Opened {
    /// Adds what another comparison found.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        let of = |path: &OpenedPath| (path.agent.clone(), path.goal.clone());
        let known: BTreeSet<_> = self.paths.iter().map(of).collect();
        let more = other.paths.into_iter();
        self.paths
            .extend(more.filter(|path| !known.contains(&of(path))));
        self.unknown = self.unknown.max(other.unknown);
        self.incomplete = self.incomplete.or(other.incomplete);
        let more = other.limits.into_iter();
        let more = more.filter(|limit| !self.limits.contains(limit));
        let more: Vec<String> = more.collect();
        self.limits.extend(more);
        self
    }
}

/// An account reaches what it did not reach before. All texts are escaped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenedPath {
    pub agent: String,
    /// `root`, `the account NAME` or `remit`.
    pub goal: String,
    pub steps: Vec<String>,
    /// Changes each of which closes it.
    pub closed_by: Vec<String>,
}

impl OpenedPath {
    /// `bot reaches root: 1. STEP 2. STEP; closed by: CHANGE; or CHANGE`.
    pub fn in_words(&self) -> String {
        let (agent, goal, steps) = (&self.agent, &self.goal, self.steps_in_words());
        match self.closed_by.is_empty() {
            true => format!("{agent} reaches {goal}: {steps}; no single change closes it"),
            false => {
                let closed_by = self.closed_by.join("; or ");
                format!("{agent} reaches {goal}: {steps}; closed by: {closed_by}")
            }
        }
    }

    pub fn steps_in_words(&self) -> String {
        let steps = (1_usize..).zip(&self.steps);
        let steps: Vec<String> = steps.map(|(at, step)| format!("{at}. {step}")).collect();
        steps.join(" ")
    }
}
