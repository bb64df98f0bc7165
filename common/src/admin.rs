//! What approvers and the warden say to each other on `admin.sock`.
//!
//! The warden reads these frames itself, so they are few and small
//! ([`crate::caps::ADMIN_FRAME`]). One request, one answer, in order; no hello:
//! the first byte of each message is [`ADMIN_PROTOCOL`].

use serde::{Deserialize, Serialize};

use crate::refusal::{Code, Refusal};

/// The version of this protocol.
pub const ADMIN_PROTOCOL: u8 = 2;

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
    /// To doctor.
    Doctor(Box<Checkup>),
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
