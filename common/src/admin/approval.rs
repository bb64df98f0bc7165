//! Changes that wait for an approval, and temporary grants, as approvers see them.
//!
//! The daemon escapes the texts of a list: control characters, invalid UTF-8 and characters that hide or reorder text
//! ([`crate::escape`]). Whoever shows a request makes its page from the bytes that are signed.

use serde::{Deserialize, Serialize};

use crate::names::JobId;

/// A change that waits for an approval, as a list entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingView {
    /// Job id.
    pub job: JobId,
    /// Name of the requester.
    pub user: String,
    /// Uid of the requester.
    pub uid: u32,
    /// Command with its arguments, on one line and truncated.
    pub command: String,
    /// The requester's reason, on one line and truncated.
    pub reason: String,
    /// Approvers, as named in the policy.
    pub by: Vec<String>,
    /// Whether the caller can approve it.
    pub yours: bool,
    /// Request time in milliseconds since 1970.
    pub asked_ms: u64,
    /// Milliseconds until it expires.
    pub left_ms: u64,
    /// SHA-256 of all that will run.
    pub digest: [u8; 32],
}

/// Receiver of a temporary grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grantee {
    /// A user.
    User {
        /// Name as typed.
        name: String,
        /// Uid of that name.
        uid: u32,
    },
    /// A group.
    Group {
        /// Name as typed, without `%`.
        name: String,
        /// Gid of that name.
        gid: u32,
    },
}

/// A requested temporary grant. Runs of a command start without approval, if the giver could approve each of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewGrant {
    /// Receiver of the grant.
    pub to: Grantee,
    /// Command name, or a name pattern as in `allow` (remit-policy(5)).
    pub what: String,
    /// Arguments that a run must have, with exactly these values. Other arguments are free.
    pub args: Vec<(String, String)>,
    /// Duration in seconds; at most [`crate::caps::GRANT_S`].
    pub for_s: u32,
    /// Number of runs, if limited; at most [`crate::caps::GRANT_USES`].
    pub uses: Option<u32>,
    /// Whether it survives a reboot.
    pub across_reboot: bool,
}

/// A temporary grant in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveGrant {
    /// Number of the grant, never reused.
    pub grant: u64,
    /// Grant as requested; `for_s` is the total duration.
    pub new: NewGrant,
    /// Name of the giver.
    pub by: String,
    /// Uid of the giver.
    pub by_uid: u32,
    /// Time of the grant, in milliseconds since 1970.
    pub granted_ms: u64,
    /// Milliseconds until it ends.
    pub left_ms: u64,
    /// Remaining runs, if limited.
    pub uses_left: Option<u32>,
}
