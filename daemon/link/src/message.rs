//! Messages between warden and broker: one closed table. The broker names sessions that the warden gave it, never an
//! identity. The warden looks up the caller by session number. A message with an unknown session, ticket or job is
//! refused or dropped. A message that does not decode ends the broker.

use remit_common::denial::ProfileVisibility;
use remit_common::names::JobId;
use remit_common::outcome::{ApprovalView, Ending, Enforced};
use remit_common::refusal::Refusal;
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
    /// Request for the permissions of this session.
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
    /// The broker itself refused something (limits, bad frames). For the audit log; the client has the answer.
    Refused { session: u64, refusal: Refusal },
    /// All output of an exited job is on disk.
    Drained { job: JobId, totals: Totals },
    /// A job exceeded its output limit and must end.
    OverLimit { job: JobId },
    /// The client is gone or was disconnected.
    Closed { session: u64 },
    /// The broker has read its history. Sent once, just before `Ready`. The warden sends what comes after it.
    HistoryOpened {
        /// The newest entry on file.
        newest: Option<HistoryMark>,
    },
    /// The entries of the history up to this number are on file, or cannot be written. Not sent for each.
    HistoryStored { seq: u64 },
    /// Answer to `HistoryQuestion`.
    HistoryAnswer {
        question: u64,
        page: Result<Box<HistoryPage>, Refusal>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToBroker {
    /// A new client. Descriptor: its socket.
    Session {
        /// Session number, never reused.
        session: u64,
        /// Identity from the kernel, for limits and for the jobs that it may see.
        owner: Owner,
    },
    /// The client's process has ended. The broker closes the session whatever the socket reports.
    SessionGone { session: u64 },
    /// A job, just started or queued (with the ticket of its request), or passed to a new broker. Descriptors: the
    /// read ends of stdout and stderr, while it runs and is not drained.
    Job {
        /// Request that this message answers.
        ticket: Option<u64>,
        meta: Box<JobMeta>,
        /// Values to redact in its output. An ended job has none. If `meta.has_secrets` is set for it, they are lost
        /// and its output can no longer be redacted.
        secrets: Vec<Bytes>,
    },
    /// Answer to a request that started nothing.
    Answer {
        ticket: u64,
        answer: Result<Answer, Refusal>,
    },
    /// An approval was given for a job, which now waits for a slot.
    Approved { job: JobId },
    /// A waiting job got a slot. Descriptors: the read ends of stdout and stderr.
    Started {
        job: JobId,
        /// Milliseconds since 1970.
        started_ms: u64,
        /// Waiting time in milliseconds.
        waited_ms: u64,
    },
    /// Facts of the exec, sent some time after it.
    Running { job: JobId, enforced: Box<Enforced> },
    /// No process of the job is left, or a kill could not be verified, and `Drained` has not come. The broker reads
    /// the pipes empty and then sends it.
    Exited { job: JobId },
    /// The end is recorded.
    Ended {
        job: JobId,
        /// The enforced sandbox, if the job was executed. Most jobs end before `Running` is sent.
        enforced: Option<Box<Enforced>>,
        ending: Box<Ending>,
        /// Permissions of its profile, if the job failed.
        visibility: Option<Box<ProfileVisibility>>,
    },
    /// The warden no longer remembers the job. Its output may be deleted.
    Forgotten { job: JobId },
    /// A netlink socket that receives the kernel's audit messages (`audit.kernel` of remit.toml), as descriptor. Sent
    /// once, before anything that runs.
    KernelAudit {
        /// First job uid. The broker ignores denials of other uids.
        uid_first: u32,
        uid_count: u32,
    },
    /// All live or remembered jobs were passed. Sent once, directly after them.
    Adopted,
    /// An entry of the history, to be stored. Sent before any other message to a client about the same event.
    History { entry: Box<HistoryRecord> },
    /// An administrator's question about the history.
    HistoryQuestion {
        question: u64,
        /// Name of the user in question; all users if absent.
        user: Option<String>,
        query: HistoryQuery,
    },
}

/// An entry of the history, as it is sent and stored.
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
    /// `allow`, the code of a refusal, or the state in which a job ended.
    pub verdict: String,
    /// Why it was refused, or how it ended.
    pub cause: Option<String>,
}

/// What identifies an entry of the history. An audit log that begins again repeats numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryMark {
    pub seq: u64,
    /// Its time in milliseconds since 1970.
    pub at_ms: u64,
}

impl HistoryRecord {
    /// Bytes of the longest one, encoded.
    pub const MOST: usize = 2048;

    /// Returns what identifies this entry.
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
    Access(Box<AccessReport>),
    /// Termination of the job has started.
    Stopping(JobId),
}

/// A run or change, as the broker passes it on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    pub what: SpecWhat,
    /// Working directory; `/` if absent.
    pub cwd: Option<Bytes>,
    pub env: Vec<(Bytes, Bytes)>,
    /// Whether a descriptor with standard input is attached.
    pub stdin: bool,
    /// Profile; `read` if absent.
    pub profile: Option<String>,
    /// Maximum run time in seconds.
    pub max_runtime_s: Option<u32>,
    pub request_id: Option<String>,
    /// Name that the client claims.
    pub client: String,
    pub purpose: Purpose,
    /// The caller's trace, for the audit log.
    pub traceparent: Option<String>,
}

/// Program, script or command of a [`Spec`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpecWhat {
    Argv(Vec<Bytes>),
    /// The script in the first descriptor.
    Script {
        /// Program name or path; `sh` if absent.
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

/// Facts about a job for the broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobMeta {
    pub job: JobId,
    pub owner: Owner,
    /// Argv, printable and truncated.
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
    /// The enforced sandbox, once it runs.
    pub enforced: Option<Enforced>,
    /// Facts about its end, once it has ended.
    pub ending: Option<Ending>,
    /// Whether arguments or input hold secrets that its output must not show.
    pub has_secrets: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WaitReason {
    QueuePosition,
    Approval(Box<ApprovalView>),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub stdout_bytes: u64,
    pub stderr_bytes: u64,
    /// SHA-256 of standard output followed by standard error, as kept.
    pub sha256: [u8; 32],
}
