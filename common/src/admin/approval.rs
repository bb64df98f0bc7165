//! Changes that wait for an approval, and temporary grants, as approvers see them.
//!
//! The daemon makes every text from what will run. Control characters, invalid UTF-8 and characters that hide or
//! reorder text are escaped ([`crate::text`]).

use serde::{Deserialize, Serialize};

use crate::names::JobId;

/// Beginning of a sentence of [`ShownRequest::risks`] that says what the change will do. It is no risk by itself.
pub const DOES: &str = "does: ";

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

/// A change that waits for an approval, with all that will run. Every list counts what it leaves out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownRequest {
    /// Its list entry.
    pub pending: PendingView,
    /// Audit login uid and pid of the requester's process: `loginuid 1000, pid 77`.
    pub login: String,
    /// Name that the requester's client claims.
    pub client: String,
    /// The requester's reason in full.
    pub reason: String,
    /// Purpose of the command, from the policy.
    pub summary: String,
    /// Argv, the program first. A truncated element ends in `[… N bytes more, sha256 …]`.
    pub argv: Vec<String>,
    /// Number of elements left out.
    pub more_argv: u32,
    /// Program, interpreter and other files in argv, as they were at the time of the request.
    pub files: Vec<FileView>,
    /// Working directory.
    pub cwd: String,
    /// Variables, each as `NAME=value`.
    pub env: Vec<String>,
    /// Lines of the script. The first line has its size, line count and SHA-256. For a command, the same for each
    /// copied file, whose first line starts with `[…`. Empty without a script.
    pub script: Vec<String>,
    /// Size, SHA-256 and beginning of standard input; `None` without input.
    pub stdin: Option<String>,
    /// Description of the sandbox, one sentence each; the first names the user and the profile.
    pub profile: Vec<String>,
    /// Resource limits.
    pub limits: Vec<String>,
    /// Risks for the approver to consider, one sentence each, most serious first; then what the change will do, each
    /// sentence after [`DOES`].
    pub risks: Vec<String>,
    /// Rule that requires the approval.
    pub rule: String,
    /// Digest of the policy.
    pub policy: String,
}

/// A file that is part of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileView {
    /// Role of the file: `program`, `interpreter`, `argument 2`.
    pub what: String,
    /// Path with symbolic links resolved.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the content.
    pub sha256: [u8; 32],
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
