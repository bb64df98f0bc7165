//! The texts of a page: one line each, escaped and cut.

use remit_common::admin::PendingView;

/// Beginning of a sentence of [`ShownRequest::risks`] that says what the change will do. It is no risk by itself.
pub const DOES: &str = "does: ";

/// A change that waits for an approval, with all that will run. Every list counts what it leaves out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownRequest {
    pub pending: PendingView,
    /// `loginuid 1000, pid 77`.
    pub login: String,
    pub client: String,
    pub reason: String,
    pub summary: String,
    /// Argv, the program first. A truncated element ends in `[… N bytes more, sha256 …]`.
    pub argv: Vec<String>,
    pub more_argv: u32,
    /// As they were at the time of the request.
    pub files: Vec<FileView>,
    pub cwd: String,
    pub env: Vec<String>,
    /// Lines of the script. The first line has its size, line count and SHA-256. For a command, the same for each
    /// copied file, whose first line starts with `[…`. Empty without a script.
    pub script: Vec<String>,
    /// Size, SHA-256 and beginning.
    pub stdin: Option<String>,
    /// Description of the sandbox, one sentence each; the first names the user and the profile.
    pub profile: Vec<String>,
    pub limits: Vec<String>,
    /// Risks for the approver to consider, one sentence each, most serious first; then what the change will do, each
    /// sentence after [`DOES`].
    pub risks: Vec<String>,
    pub rule: String,
    pub policy: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileView {
    /// `program`, `interpreter`, `argument 2`.
    pub what: String,
    /// With symbolic links resolved.
    pub path: String,
    pub size: u64,
    pub sha256: [u8; 32],
}
