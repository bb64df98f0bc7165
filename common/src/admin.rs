//! What approvers and the warden say to each other on `admin.sock`.
//!
//! The warden reads these frames itself, so they are few and small
//! ([`crate::caps::ADMIN_FRAME`]). One request, one answer, in order; no hello:
//! the first byte of each message is [`ADMIN_PROTOCOL`].

mod approval;

use serde::{Deserialize, Serialize};

pub use approval::{FileView, GivenGrant, NewGrant, PendingView, ShownRequest, Whom};

use crate::names::JobId;
use crate::outcome::State;
use crate::refusal::{Code, Refusal};
use crate::wire::{HistoryPage, HistoryQuery};

/// The version of this protocol.
pub const ADMIN_PROTOCOL: u8 = 6;

/// A request with its version in front.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminCall {
    /// Must be [`ADMIN_PROTOCOL`].
    pub protocol: u8,
    /// What is wanted.
    pub request: AdminRequest,
}

/// What an administrator may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdminRequest {
    /// How is the daemon.
    Status,
    /// Refuse everything from now on.
    Lock {
        /// Why, for those who are refused.
        why: String,
        /// End all jobs too.
        kill: bool,
    },
    /// Undo a lock.
    Unlock,
    /// Load the policy again, and look whether `remit.toml` is right.
    Reload,
    /// Try every wall of every profile now. Answered when it is done, within seconds.
    Doctor,
    /// The jobs of all users, newest first.
    Jobs {
        /// At most this many, and what fits in a frame.
        limit: u32,
    },
    /// End anybody's job. Answered when it has ended.
    Stop {
        /// Which.
        job: JobId,
        /// The signal to send first; TERM when absent. KILL follows after a grace.
        signal: Option<i32>,
    },
    /// The changes that wait for an approval, oldest first.
    Pending {
        /// The `state` of an earlier answer: answered as soon as it is another one.
        seen: Option<u64>,
    },
    /// One of them with all that will run.
    Show {
        /// How its id begins ([`crate::names::id_prefix`]).
        id: String,
    },
    /// Approve one. Answered when it was started, or has its place in the queue.
    Approve {
        /// Which.
        job: JobId,
        /// What was shown: SHA-256 of all that will run.
        digest: [u8; 32],
    },
    /// Deny one.
    Deny {
        /// Which.
        job: JobId,
        /// Why, for its requester.
        why: String,
    },
    /// Approve beforehand, for a time.
    Grant(NewGrant),
    /// The grants for a time, oldest first.
    Grants,
    /// End such a grant; nothing is started by it after the answer.
    Revoke {
        /// Its number; all of them when absent.
        grant: Option<u64>,
    },
    /// What one user or all have done here, newest first.
    History {
        /// Whose, by name; all users' when absent.
        user: Option<String>,
        /// Which part.
        query: HistoryQuery,
    },
    /// The head of the audit chain: what the newest record must be.
    AuditHead,
    /// Anybody's job, also one that has ended. A daemon that does not know this question closes the connection.
    Job {
        /// How its id begins ([`crate::names::id_prefix`]).
        id: String,
        /// Answered when it has ended, and else at once.
        wait: bool,
    },
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdminReply {
    /// To status.
    Status(Box<Status>),
    /// Done; a sentence about it.
    Done(String),
    /// Refused.
    Refused(Refusal),
    /// To reload: the new policy is live.
    Reloaded(Reloaded),
    /// To doctor.
    Doctor(Box<Checkup>),
    /// To jobs.
    Jobs {
        /// Newest first.
        jobs: Vec<AnyJob>,
        /// Older ones that are not shown.
        omitted: u32,
    },
    /// To stop: the job as it ended.
    Stopped(Box<AnyJob>),
    /// To pending.
    Pending {
        /// Another number whenever the list is another one.
        state: u64,
        /// Oldest first.
        requests: Vec<PendingView>,
        /// Newer ones that are not shown.
        omitted: u32,
    },
    /// To show.
    Shown(Box<ShownRequest>),
    /// To grant.
    Granted(GivenGrant),
    /// To grants.
    Grants(Vec<GivenGrant>),
    /// To history.
    History(HistoryPage),
    /// To audit head.
    AuditHead(AuditHead),
    /// To job: as it is, or as it ended.
    Job(Box<AnyJob>),
}

/// The newest record of the audit trail, as the daemon knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHead {
    /// Its number; 0 before the first record ever.
    pub seq: u64,
    /// Its hash; zeros before the first record ever.
    pub hash: [u8; 32],
}

/// A policy that went live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Its digest.
    pub policy: String,
    /// Rules in it.
    pub rules: u32,
    /// Commands in it.
    pub commands: u32,
    /// What it means other than the one before: who gains, who loses what, a line each; at most
    /// [`crate::caps::POLICY_CHANGES`].
    pub changes: Vec<String>,
    /// Changes that are not shown.
    pub more_changes: u32,
    /// What its author should look at, a line or more each.
    pub warnings: Vec<String>,
    /// Anything else worth a sentence: keys of `remit.toml` that wait for a restart.
    pub notes: Vec<String>,
}

/// Somebody's job, as administrators see it: never its output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnyJob {
    /// Its id.
    pub job: JobId,
    /// Its owner's name.
    pub user: String,
    /// Its owner's uid.
    pub uid: u32,
    /// Its argv, made printable and cut short.
    pub command: String,
    /// Where it is.
    pub state: State,
    /// The exit status, where it exited.
    pub exit: Option<i32>,
    /// How it ended, in words.
    pub cause: Option<String>,
    /// When it started (one that waits: when it was asked for), in milliseconds since 1970.
    pub started_ms: u64,
    /// How long it runs or ran, in milliseconds.
    pub runtime_ms: u64,
    /// Every process of it is gone, and that was checked; absent while it lives.
    pub kill_verified: Option<bool>,
}

/// The daemon in one screen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its release.
    pub release: String,
    /// `uname -r`.
    pub kernel: String,
    /// Milliseconds since it is up.
    pub uptime_ms: u64,
    /// Digest of the live policy.
    pub policy: String,
    /// Rules in it.
    pub rules: u32,
    /// Why the newest policy is not live, if so.
    pub policy_error: Option<String>,
    /// What the author of the live policy should look at, a line each.
    pub policy_warnings: Vec<String>,
    /// Keys of `remit.toml` that were changed since the start: they count after a restart.
    pub needs_restart: Vec<String>,
    /// Why remit is locked, if so.
    pub locked: Option<String>,
    /// The administrator who locked it, where that is known.
    pub locked_by: Option<String>,
    /// When, in milliseconds since 1970.
    pub locked_ms: Option<u64>,
    /// Jobs that run.
    pub jobs: u32,
    /// Jobs that may run at once.
    pub max_jobs: u32,
    /// Jobs that wait for a place.
    pub queued: u32,
    /// Changes that wait for an approval.
    pub pending: u32,
    /// Grants for a time that are in force.
    pub grants: u32,
    /// Jobs recorded as ended of which a process is stuck in the kernel. Each takes a place.
    pub stuck: u32,
    /// Clients connected.
    pub sessions: u32,
    /// What one job may use, a limit each.
    pub limits: Vec<String>,
    /// The audit's sink.
    pub audit: String,
    /// Why it takes no records just now, if so.
    pub audit_error: Option<String>,
    /// Landlock's version here, 0 without.
    pub landlock: u32,
    /// The directory of the jobs' cgroups, where there are some.
    pub cgroup: Option<String>,
    /// cgroup controllers at hand.
    pub controllers: Vec<String>,
    /// Times the broker was started anew.
    pub broker_restarts: u32,
    /// Profiles in which nothing runs, each with the reason: `read: …`.
    pub refused: Vec<String>,
    /// Walls that this kernel does not have; others carry what they would.
    pub missing: Vec<String>,
    /// The newest refusals, newest first; [`crate::caps::RECENT_REFUSALS`] at most.
    pub refusals: Vec<RecentRefusal>,
}

/// A refusal of not long ago.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentRefusal {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who was refused; `None` when that could not be told.
    pub user: Option<String>,
    /// Its code.
    pub code: Code,
    /// Its sentence, cut to a line.
    pub message: String,
}

/// What the daemon finds when it tries its own walls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkup {
    /// `uname -r`.
    pub kernel: String,
    /// Landlock's version here, 0 without.
    pub landlock: u32,
    /// Landlock's fixed errata, a bit mask; 0 where the kernel does not tell.
    pub landlock_errata: u32,
    /// The directory of the jobs' cgroups. `None`: jobs have resource limits alone.
    pub cgroup: Option<String>,
    /// Its controllers of memory, pids and cpu.
    pub controllers: Vec<String>,
    /// Those of the three that are not there.
    pub missing_controllers: Vec<String>,
    /// Limits that are lower than configured, since the daemon's own hard limits are.
    pub lowered_limits: Vec<String>,
    /// The audit's sink.
    pub audit: String,
    /// Why it takes no records just now, if so.
    pub audit_error: Option<String>,
    /// Each profile.
    pub profiles: Vec<ProfileCheck>,
}

/// One profile, tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileCheck {
    /// Its name.
    pub name: String,
    /// Why nothing runs in it, if so. It stays so until the daemon is started again.
    pub refused: Option<String>,
    /// Each attempt on a wall; empty when none could be made, as `refused` says.
    pub walls: Vec<WallCheck>,
}

/// One attempt on a wall. A wall may have several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WallCheck {
    /// The wall's name.
    pub name: String,
    /// Whether it held.
    pub state: WallState,
    /// What was tried, what the kernel answered, and what it answers without the walls.
    pub detail: String,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WallState {
    /// The wall stopped it.
    Held,
    /// It went through, or the attempt proves nothing. The profile is refused.
    Broken,
    /// This kernel has no such wall; others carry what it would.
    Absent,
}
