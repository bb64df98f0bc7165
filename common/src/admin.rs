//! What approvers and the warden say to each other on `admin.sock`.
//!
//! The warden reads these frames itself, so they are few and small
//! ([`crate::caps::ADMIN_FRAME`]). One request, one answer, in order; no hello:
//! the first byte of each message is [`ADMIN_PROTOCOL`].

use serde::{Deserialize, Serialize};

use crate::refusal::Refusal;

/// The version of this protocol.
pub const ADMIN_PROTOCOL: u8 = 1;

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
    /// Load the policy again.
    Reload,
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
}

/// The daemon in one screen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its release.
    pub release: String,
    /// Milliseconds since it is up.
    pub uptime_ms: u64,
    /// Digest of the live policy.
    pub policy: String,
    /// Why the newest policy is not live, if so.
    pub policy_error: Option<String>,
    /// Why remit is locked, if so.
    pub locked: Option<String>,
    /// Jobs that run.
    pub jobs: u32,
    /// Clients connected.
    pub sessions: u32,
    /// The audit's sink.
    pub audit: String,
    /// Landlock's version here, 0 without.
    pub landlock: u32,
    /// cgroup controllers at hand.
    pub controllers: Vec<String>,
    /// Times the broker was started anew.
    pub broker_restarts: u32,
    /// Walls that did not hold at start, by profile.
    pub missing: Vec<String>,
}
