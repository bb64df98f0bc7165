//! Changes that wait for an approval, and grants for a time, as approvers see them.
//!
//! Every text here was made by the daemon from what will run, with control characters, bytes that
//! are no UTF-8 and characters that hide or turn text written as escapes ([`crate::text`]).

use serde::{Deserialize, Serialize};

use crate::names::JobId;

/// A change that waits for an approval, in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingView {
    /// Its id.
    pub job: JobId,
    /// Who asks.
    pub user: String,
    /// Their uid.
    pub uid: u32,
    /// The command with its arguments, on one line and cut short.
    pub command: String,
    /// Why, in the requester's words, on one line and cut short.
    pub reason: String,
    /// Who can approve it, as the policy names them.
    pub by: Vec<String>,
    /// Whether the one who asks for this list can.
    pub yours: bool,
    /// When it was asked for, in milliseconds since 1970.
    pub asked_ms: u64,
    /// How long it still waits, in milliseconds.
    pub left_ms: u64,
    /// SHA-256 of all that will run.
    pub digest: [u8; 32],
}

/// A change that waits for an approval, with all that will run. What does not fit is counted where
/// it is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownRequest {
    /// Its line in the list.
    pub pending: PendingView,
    /// The audit login uid of the requester's process, and its pid: `loginuid 1000, pid 77`.
    pub login: String,
    /// What the requester's client calls itself.
    pub client: String,
    /// The requester's whole reason.
    pub reason: String,
    /// What the command is for, in the policy's words.
    pub summary: String,
    /// Each element of the argv, the program first; one that ends in `[… N bytes more, sha256 …]` is cut.
    pub argv: Vec<String>,
    /// Elements that are not shown.
    pub more_argv: u32,
    /// The program, its interpreter and other files that the argv names, as they were when it was asked for.
    pub files: Vec<FileView>,
    /// The working directory.
    pub cwd: String,
    /// Variables, `NAME=value` each.
    pub env: Vec<String>,
    /// The script, a line each; the first says how many bytes and lines it has and their SHA-256.
    /// Empty: there is none.
    pub script: Vec<String>,
    /// Standard input in words: how many bytes, their SHA-256, how they begin. `None`: nothing.
    pub stdin: Option<String>,
    /// The sandbox in plain words, a sentence each; the first names the profile.
    pub profile: Vec<String>,
    /// Its limits.
    pub limits: Vec<String>,
    /// What an approver should think of, a sentence each, most serious first.
    pub risks: Vec<String>,
    /// The rule that asks for the approval.
    pub rule: String,
    /// Digest of the policy.
    pub policy: String,
}

/// A file that is part of what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileView {
    /// What it is: `program`, `interpreter`, `argument 2`.
    pub what: String,
    /// Its path, links resolved.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256.
    pub sha256: [u8; 32],
}

/// To whom a grant for a time is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Whom {
    /// A user.
    User {
        /// The name that was typed.
        name: String,
        /// Its uid.
        uid: u32,
    },
    /// A group.
    Group {
        /// The name that was typed, without `%`.
        name: String,
        /// Its gid.
        gid: u32,
    },
}

/// A grant for a time that is asked for: runs of a command start without an approval, where the giver
/// could approve each of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewGrant {
    /// Whose runs.
    pub to: Whom,
    /// The name of a command, or a pattern of names as in `allow` (remit-policy(5)).
    pub what: String,
    /// Arguments that a run must have, exactly so; others may be anything that the command takes.
    pub args: Vec<(String, String)>,
    /// For how long, in seconds; at most [`crate::caps::GRANT_S`].
    pub for_s: u32,
    /// For how many runs, where there is a number; at most [`crate::caps::GRANT_USES`].
    pub uses: Option<u32>,
    /// It goes on after a reboot of the machine.
    pub across_reboot: bool,
}

/// A grant for a time that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenGrant {
    /// Its number, never used twice.
    pub grant: u64,
    /// As it was asked for; `for_s` in all.
    pub new: NewGrant,
    /// Who gave it.
    pub by: String,
    /// Their uid.
    pub by_uid: u32,
    /// When, in milliseconds since 1970.
    pub given_ms: u64,
    /// How long it still lasts, in milliseconds.
    pub left_ms: u64,
    /// Runs that are left, where there is a number.
    pub uses_left: Option<u32>,
}
