//! The texts of a page: one line each, escaped and cut.

use remit_common::admin::PendingView;

/// Beginning of a sentence of [`ShownRequest::risks`] that says what the change will do. It is no risk by itself.
pub const DOES: &str = "does: ";

/// A change that waits for an approval, with all that will run. Every list counts what it leaves out.
#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
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
