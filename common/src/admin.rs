//! Protocol between approvers and the warden on `admin.sock`. The warden reads these frames itself, so they are few
//! and small ([`crate::caps::ADMIN_FRAME`]). Each request gets one answer, in order. There is no hello: each message
//! starts with [`ADMIN_PROTOCOL`]. Times are milliseconds since 1970.

use serde::{Deserialize, Serialize};

use crate::behalf::Behalf;
use crate::names::{JobId, SetId};
use crate::outcome::{FollowUp, State};
use crate::refusal::{Code, Refusal};
use crate::signed::Signed;
use crate::wire::{Bytes, HistoryPage, HistoryQuery};

mod grants;

pub use grants::{ActiveGrant, Grantee, NewGrant, in_short};

pub const ADMIN_PROTOCOL: u8 = 17;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminCall {
    pub protocol: u8,
    pub request: AdminRequest,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdminRequest {
    Status,
    Lock {
        why: String,
        kill: bool,
    },
    Unlock,
    /// Loads the policy again and checks `remit.toml`.
    Reload,
    /// Tests every sandbox layer of every profile now. The answer comes after the tests, within seconds.
    Doctor,
    /// Returns the jobs of all users, newest first.
    Jobs {
        /// Maximum number; fewer if they do not fit in a frame.
        limit: u32,
    },
    /// Ends a job of any user. The answer comes when it has ended.
    Stop {
        job: JobId,
        /// First signal, SIGTERM if absent. SIGKILL follows after a grace period.
        signal: Option<i32>,
    },
    /// Returns the changes that wait for an approval, oldest first.
    Pending {
        /// `state` of an earlier answer. The answer waits until the state differs.
        seen: Option<u64>,
    },
    /// Returns one pending change with all that will run, in one or more answers.
    Show {
        /// Prefix of its id ([`crate::id_prefix::IdPrefix`]).
        id: String,
    },
    /// Approves one change. The answer comes when the job has started or is queued.
    Approve {
        job: JobId,
        /// Digest that was shown: SHA-256 of all that will run.
        digest: [u8; 32],
        /// Signature of the request's text (`remit_approval::statement`), as `ssh-keygen -Y sign` prints it. Its rules may ask
        /// for one.
        signature: Option<String>,
    },
    Deny {
        job: JobId,
        why: String,
    },
    /// Approves runs in advance, for a limited time.
    Grant {
        new: NewGrant,
        /// Ways to root, or to another account, that it opens are accepted. Else it is refused.
        accepts_paths: bool,
    },
    /// Returns the temporary grants, oldest first.
    Grants,
    /// Ends a temporary grant. It starts nothing after the answer.
    Revoke {
        /// Number of the grant; all grants if absent.
        grant: Option<u64>,
    },
    /// Returns the history of one user or of all users, newest first.
    History {
        /// All users if absent.
        user: Option<String>,
        query: HistoryQuery,
    },
    AuditHead,
    /// Returns a job of any user, running or ended. An older daemon closes the connection instead.
    Job {
        id: String,
        /// Delays the answer until the job has ended.
        wait: bool,
    },
    /// Ends the pause of a user by a breaker.
    Resume {
        user: String,
    },
    /// Keeps a commit of files for good. Only from a login that began after the commit.
    Confirm {
        /// Beginning of its id; the only commit that waits for it if absent.
        id: Option<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdminReply {
    Status(Box<Status>),
    /// The request was carried out; the text is one sentence.
    Done(String),
    Refused(Refusal),
    Reloaded(Reloaded),
    Doctor(Box<Checkup>),
    Jobs {
        jobs: Vec<AnyJob>,
        /// Number of older jobs left out.
        omitted: u32,
    },
    Stopped(Box<AnyJob>),
    Pending {
        /// Version of the list; it differs whenever the list differs.
        state: u64,
        requests: Vec<PendingView>,
        /// Number of newer requests left out.
        omitted: u32,
    },
    /// To [`AdminRequest::Show`]: a part. All parts together are what `remit_approval::Answer` reads.
    Shown {
        /// Bytes that follow in further answers.
        left: u64,
        /// Bytes of this part; at least one.
        bytes: Bytes,
    },
    Granted(Box<ActiveGrant>),
    Grants(Vec<ActiveGrant>),
    History(HistoryPage),
    AuditHead(AuditHead),
    Job(Box<AnyJob>),
    /// To [`AdminRequest::Approve`]: the approval counts, and the request waits for more people.
    Counted {
        /// One sentence.
        text: String,
        /// Number of people whose approval is missing; at least one.
        missing: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHead {
    /// Record number; 0, and a zero hash, if there was never a record.
    pub seq: u64,
    pub hash: [u8; 32],
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    pub policy: String,
    pub rules: u32,
    pub commands: u32,
    /// Differences in meaning from the previous policy, one per line; at most [`crate::caps::POLICY_CHANGES`].
    pub changes: Vec<String>,
    pub more_changes: u32,
    /// Warnings for the author of the policy, one or more lines each.
    pub warnings: Vec<String>,
    /// Other notes, such as keys of `remit.toml` that need a restart.
    pub notes: Vec<String>,
}

/// A job as administrators see it. It never contains output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnyJob {
    pub job: JobId,
    pub user: String,
    pub uid: u32,
    /// Argv, made printable and truncated.
    pub command: String,
    pub state: State,
    pub exit: Option<i32>,
    pub cause: Option<String>,
    /// What becomes of its commit if nobody confirms that.
    pub unconfirmed: Option<String>,
    /// Start time (request time while it waits), in milliseconds since 1970.
    pub started_ms: u64,
    pub runtime_ms: u64,
    /// True if no process is left, as was verified; absent while it runs.
    pub kill_verified: Option<bool>,
    /// Commands that follow it. In a list of jobs there are none.
    pub then: Vec<FollowUp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub release: String,
    /// Output of `uname -r`.
    pub kernel: String,
    pub uptime_ms: u64,
    pub policy: String,
    /// Digest of the names and texts of its files alone. `policy` also covers what names in them meant at the load.
    pub policy_texts: String,
    pub rules: u32,
    /// Reason why the newest policy is not live, if so.
    pub policy_error: Option<String>,
    /// Warnings for the author of the live policy, one per line.
    pub policy_warnings: Vec<String>,
    /// The shadow policy and how often its verdict was another, if one is in use.
    pub shadow: Option<String>,
    /// Keys of `remit.toml` changed since the start. They take effect after a restart.
    pub needs_restart: Vec<String>,
    pub locked: Option<String>,
    pub locked_by: Option<String>,
    pub locked_ms: Option<u64>,
    /// What every change needs by `[floor]` of `remit.toml`, one per line.
    pub floor: Vec<String>,
    /// Users whom a breaker paused, one per line.
    pub paused: Vec<String>,
    /// Commits of files that are undone unless somebody confirms them, oldest first; at most [`UNCONFIRMED`].
    pub unconfirmed: Vec<UnconfirmedView>,
    pub jobs: u32,
    pub max_jobs: u32,
    pub queued: u32,
    pub pending: u32,
    pub grants: u32,
    /// Jobs recorded as ended that have a process stuck in the kernel. Each occupies a slot.
    pub stuck: u32,
    pub sessions: u32,
    /// Resource limits of one job, one per entry.
    pub limits: Vec<String>,
    pub audit: String,
    /// Reason why the sink takes no records now, if so.
    pub audit_error: Option<String>,
    /// Landlock ABI version; 0 without Landlock.
    pub landlock: u32,
    pub cgroup: Option<String>,
    pub controllers: Vec<String>,
    pub broker_restarts: u32,
    /// Profiles in which nothing runs, each with the reason: `read: …`.
    pub refused: Vec<String>,
    /// Sandbox layers that this kernel lacks. Other layers take over their protection.
    pub missing: Vec<String>,
    /// Recent refusals, newest first; at most [`crate::caps::RECENT_REFUSALS`].
    pub refusals: Vec<RecentRefusal>,
    pub totals: Totals,
}

/// Counts since the daemon's start. They only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Jobs recorded before their start, with and without an approval.
    pub started: u64,
    pub asked: u64,
    /// Approvals; a request that needs two people counts twice.
    pub approved: u64,
    pub denied: u64,
    pub expired: u64,
    pub void: u64,
    /// Refused requests; a code without any is left out.
    pub refused: Vec<(Code, u64)>,
    pub records: u64,
    /// Records that could be neither written nor kept until they can be. No job ran for them.
    pub lost_records: u64,
}

/// Commits in [`Status::unconfirmed`].
pub const UNCONFIRMED: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnconfirmedView {
    pub commit_id: String,
    pub job: JobId,
    /// One sentence.
    pub what: String,
    /// What to type to keep it.
    pub command: String,
    /// Nobody confirmed it in time, and it could not be undone.
    pub has_failed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentRefusal {
    pub at_ms: u64,
    pub user: Option<String>,
    pub code: Code,
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkup {
    pub kernel: String,
    pub landlock: u32,
    /// Bit mask of fixed Landlock errata; 0 if the kernel does not report them.
    pub landlock_errata: u32,
    /// Directory of the job cgroups. `None`: jobs have only resource limits.
    pub cgroup: Option<String>,
    /// Available controllers among memory, pids and cpu.
    pub controllers: Vec<String>,
    pub missing_controllers: Vec<String>,
    /// Limits below their configured value, because the daemon's own hard limits are lower.
    pub lowered_limits: Vec<String>,
    pub audit: String,
    pub audit_error: Option<String>,
    /// What the daemon itself must not be able to do, tried at its start.
    pub daemon: Vec<LayerCheck>,
    pub profiles: Vec<ProfileCheck>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileCheck {
    pub name: String,
    /// Reason why nothing runs in it, if so. It stays until the daemon restarts.
    pub refused: Option<String>,
    /// Probes of the sandbox layers; empty if none could run, as `refused` explains.
    #[serde(rename = "walls")]
    pub layers: Vec<LayerCheck>,
}

/// One probe of a sandbox layer. A layer may have several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerCheck {
    pub name: String,
    pub state: LayerState,
    /// Attempted action, the kernel's answer, and its answer without the sandbox.
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerState {
    Held,
    /// The action succeeded, or the probe proves nothing. The profile is refused.
    Broken,
    Absent,
}

/// A change that waits for an approval, as a list entry. The daemon escapes its texts ([`crate::escape`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingView {
    pub job: JobId,
    pub user: String,
    pub uid: u32,
    pub command: String,
    pub reason: String,
    /// Approvers, as named in the policy.
    pub by: Vec<String>,
    /// Names of those who have approved it, if one is not enough.
    pub approved_by: Vec<String>,
    /// Number of people whose approval is missing; at least one.
    pub missing: u8,
    /// What the signature of each approval has to prove, if one is asked for.
    pub signed: Option<Signed>,
    pub yours: bool,
    pub asked_ms: u64,
    pub left_ms: u64,
    pub digest: [u8; 32],
    /// The set of requests on many hosts that it is said to belong to. Its requester says so, and it is not approved.
    pub set: Option<SetId>,
    /// Whom the requester says it acts for. Nobody verifies it, and it is not approved.
    pub behalf: Option<Behalf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{decode, read};

    proptest::proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
            let _ = decode::<AdminCall>(&bytes);
            let _ = decode::<AdminReply>(&bytes);
            let _ = read::<AdminCall>(&mut bytes.as_slice(), 1 << 10);
        }
    }
}
