//! Messages between warden and broker: one closed table. The broker names sessions, never an identity. A message with
//! an unknown session, ticket or job is refused or dropped; one that does not decode ends the broker.

use remit_common::behalf::Behalf;
use remit_common::denial::ProfileVisibility;
use remit_common::names::{JobId, SetId};
use remit_common::outcome::{ApprovalView, Ending, Enforced, FollowUp};
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::{Access, AccessReport, Bytes, HistoryPage, HistoryQuery, Kind, Purpose};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWarden {
    /// The broker has confined itself and serves. Sent once.
    Ready,
    /// Request to run something. Descriptors: the script, then stdin, as named by `spec`, both sealed.
    Run {
        session: u64,
        ticket: u64,
        spec: Box<Spec>,
    },
    Access {
        session: u64,
        ticket: u64,
        access: Access,
    },
    /// Request to end a job of this session's user.
    Stop {
        session: u64,
        ticket: u64,
        job: JobId,
        /// First signal; SIGTERM if absent.
        signal: Option<i32>,
    },
    /// Request to forget the copy that a job of this session's user left.
    DropCopy {
        session: u64,
        ticket: u64,
        job: JobId,
    },
    /// Request to keep a file that is sent in parts.
    Upload {
        session: u64,
        ticket: u64,
        sha256: [u8; 32],
        size: u64,
    },
    /// The broker itself refused something (limits, bad frames). For the audit log; the client has the answer.
    Refused { session: u64, refusal: Refusal },
    /// All output of a job is on disk, and nothing can write more. Most jobs end then.
    Drained { job: JobId, totals: Totals },
    /// A job exceeded its output limit and must end.
    OverLimit { job: JobId },
    /// The client is gone or was disconnected.
    Closed { session: u64 },
    /// The broker has read its history. Sent once, just before `Ready`. The warden sends what comes after it.
    HistoryOpened { newest: Option<HistoryMark> },
    /// The entries of the history up to this number are on file, or cannot be written. Not sent for each.
    HistoryStored { seq: u64 },
    HistoryAnswer {
        question: u64,
        page: Result<Box<HistoryPage>, Refusal>,
    },
    /// As many refusals as `Refused` reports one by one, beyond the broker's rate for them.
    MoreRefused {
        session: u64,
        code: Code,
        count: u32,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToBroker {
    /// A new client. Descriptor: its socket.
    Session {
        session: u64,
        /// Identity from the kernel, for limits and for the jobs that it may see.
        owner: Owner,
    },
    /// The client's process has ended. The broker closes the session whatever the socket reports.
    SessionGone { session: u64 },
    /// A job that was started or queued, or passed to a new broker. Descriptors: stdout and stderr, unless drained; of an
    /// extraction that starts also the socket for the contents of its plan.
    Job {
        ticket: Option<u64>,
        meta: Box<JobMeta>,
        /// Values to redact in its output. An ended job has none. With `meta.has_secrets` they are lost then.
        secrets: Vec<Bytes>,
    },
    Answer {
        ticket: u64,
        answer: Result<Answer, Refusal>,
    },
    /// One of several people has approved a job, which waits for the others.
    Counted {
        job: JobId,
        approved_by: Vec<String>,
        missing: u8,
    },
    /// The last approval was given for a job, which now waits for a slot.
    Approved { job: JobId },
    /// A waiting job got a slot. Descriptors: as of a job that was started.
    Started {
        job: JobId,
        /// Milliseconds since 1970.
        started_ms: u64,
        waited_ms: u64,
    },
    /// Facts of the exec, sent some time after it.
    Running { job: JobId, enforced: Box<Enforced> },
    /// No process is left, or a kill is not verified. The broker reads the pipes empty, then sends `Drained`.
    Exited { job: JobId },
    Ended {
        job: JobId,
        /// The enforced sandbox, if the job was executed. Most jobs end before `Running` is sent.
        enforced: Option<Box<Enforced>>,
        ending: Box<Ending>,
        /// Permissions of its profile, if the job failed.
        visibility: Option<Box<ProfileVisibility>>,
        /// Commands that followed it. All of them are over.
        then: Vec<FollowUp>,
    },
    /// The warden no longer remembers the job. Its output may be deleted.
    Forgotten { job: JobId },
    /// A netlink socket with the kernel's audit messages (`audit.kernel` of remit.toml), as descriptor. Sent first.
    KernelAudit {
        /// First job uid. The broker ignores denials of other uids.
        uid_first: u32,
        uid_count: u32,
    },
    /// All live or remembered jobs were passed. Sent once, directly after them.
    Adopted,
    HistoryQuestion {
        question: u64,
        /// Name of the user in question; all users if absent.
        user: Option<String>,
        query: HistoryQuery,
    },
}

/// What the broker receives at once, so that it wakes up once: an entry of the history, which it stores, and then a message,
/// with its descriptors. Clients who learn of an event find it in the history. The warden sends references.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery<Entry = Box<HistoryRecord>, Message = ToBroker> {
    pub entry: Option<Entry>,
    pub message: Option<Message>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryRecord {
    /// Number of its audit record.
    pub seq: u64,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    pub kind: Kind,
    /// Uid of the requester; stored with the name, because the uid of a removed account can be reused.
    pub uid: u32,
    pub user: String,
    pub job: Option<JobId>,
    /// Argv, printable and truncated.
    pub command: Option<String>,
    pub verdict: String,
    pub cause: Option<String>,
}

/// What identifies an entry of the history. An audit log that begins again repeats numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryMark {
    pub seq: u64,
    pub at_ms: u64,
}

impl HistoryRecord {
    /// Bytes of the longest one, encoded.
    pub const MOST: usize = 2048;

    #[must_use]
    pub const fn mark(&self) -> HistoryMark {
        HistoryMark {
            seq: self.seq,
            at_ms: self.at_ms,
        }
    }
}

/// Answer to a permitted request that started nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// An earlier request with the same id and content made this job.
    Known(JobId),
    Access(Box<AccessReport>, Startable),
    Stopping(JobId),
    Upload,
    /// Bytes of memory that the copy took.
    Dropped(u64),
}

/// What starts now if the policy allows it: nothing under a lock, a copy only where the sandbox for it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Startable {
    pub change: bool,
    pub copy: bool,
}

/// A run or change, as the broker passes it on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    pub what: SpecWhat,
    /// Working directory; `/` if absent.
    pub cwd: Option<Bytes>,
    pub env: Vec<(Bytes, Bytes)>,
    pub stdin: bool,
    pub profile: Option<String>,
    pub max_runtime_s: Option<u32>,
    pub request_id: Option<String>,
    pub client: String,
    pub purpose: Purpose,
    pub traceparent: Option<String>,
    pub set: Option<SetId>,
    pub behalf: Option<Behalf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpecWhat {
    Argv(Vec<Bytes>),
    Script {
        interpreter: Option<Bytes>,
    },
    /// A named command. The broker, not the caller, writes standard input for one of [`remit_common::builtin`].
    Named {
        name: String,
        args: Vec<(String, String)>,
    },
}

/// An owner. A deleted account frees its uid for another user, so the uid does not identify the user.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// Uid from the kernel; limits count by it.
    pub uid: u32,
    /// User name at that time, or `#uid`.
    pub user: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobMeta {
    pub job: JobId,
    pub owner: Owner,
    pub command: String,
    /// Reason why it waits, before it runs.
    pub waiting: Option<WaitReason>,
    /// Increases from job to job, also across restarts, whereas a clock may go back.
    pub number: u64,
    /// Start time (request time while it waits), in milliseconds since 1970.
    pub started_ms: u64,
    /// Milliseconds since that time on a monotonic clock, when this message was sent; 0 for an ended job.
    pub age_ms: u64,
    /// Time that it waited for its slot, in milliseconds.
    pub waited_ms: u64,
    pub enforced: Option<Enforced>,
    pub ending: Option<Ending>,
    pub then: Vec<FollowUp>,
    /// Whether arguments or input hold secrets that its output must not show.
    pub has_secrets: bool,
    /// Whether it was requested as a change or a try. The warden forgets such a job later than others.
    pub may_change: bool,
    /// Whether some output was left in the pipes at its end. The ledger does not have it.
    pub is_unread: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WaitReason {
    QueuePosition,
    Approval(Box<WaitingApproval>),
}

/// A request that waits for people, and what they have said so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingApproval {
    pub view: ApprovalView,
    /// Those who have approved it, if one is not enough.
    pub approved_by: Vec<String>,
    pub missing: u8,
    /// A request of the same user for the same, which was waiting when this one was asked for.
    pub same: Option<SameRequest>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SameRequest {
    pub job: JobId,
    /// When it was asked for, in milliseconds since 1970.
    pub asked_ms: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub stdout_bytes: u64,
    pub stderr_bytes: u64,
    /// SHA-256 of standard output followed by standard error, as kept.
    pub sha256: [u8; 32],
    /// Whether some of it was left in the pipes.
    pub is_unread: bool,
}
