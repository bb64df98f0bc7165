//! Changes that wait for an approval, and temporary grants, as approvers see them.
//!
//! The daemon escapes the texts of a list: control characters, invalid UTF-8 and characters that hide or reorder text
//! ([`crate::escape`]). Whoever shows a request makes its page from the bytes that are signed.
//! Times are milliseconds since 1970.

use serde::{Deserialize, Serialize};

use crate::names::JobId;

/// A change that waits for an approval, as a list entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingView {
    pub job: JobId,
    pub user: String,
    pub uid: u32,
    /// Command with its arguments, on one line and truncated.
    pub command: String,
    /// The requester's reason, on one line and truncated.
    pub reason: String,
    /// Approvers, as named in the policy.
    pub by: Vec<String>,
    pub yours: bool,
    pub asked_ms: u64,
    pub left_ms: u64,
    /// SHA-256 of all that will run.
    pub digest: [u8; 32],
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grantee {
    User {
        name: String,
        uid: u32,
    },
    Group {
        /// Name as typed, without `%`.
        name: String,
        gid: u32,
    },
}

/// A requested temporary grant. Runs of a command start without approval, if the giver could approve each of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewGrant {
    pub to: Grantee,
    /// Command name, or a name pattern as in `allow` (remit-policy(5)).
    pub what: String,
    /// Arguments that a run must have, with exactly these values. Other arguments are free.
    pub args: Vec<(String, String)>,
    /// Duration in seconds; at most [`crate::caps::GRANT_S`].
    pub for_s: u32,
    /// Number of runs, if limited; at most [`crate::caps::GRANT_USES`].
    pub uses: Option<u32>,
    pub across_reboot: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveGrant {
    /// Number of the grant, never reused.
    pub grant: u64,
    /// Grant as requested; `for_s` is the total duration.
    pub new: NewGrant,
    pub by: String,
    pub by_uid: u32,
    pub granted_ms: u64,
    pub left_ms: u64,
    pub uses_left: Option<u32>,
}
