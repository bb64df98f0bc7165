//! What warden and broker may say to each other: one closed table.
//!
//! The broker speaks for sessions that the warden gave it, never for an
//! identity: the warden looks the caller up by session number. A message that
//! names an unknown session, ticket or job is answered with a refusal or
//! dropped; one that does not decode ends the broker.

use remit_common::denial::Sight;
use remit_common::names::JobId;
use remit_common::outcome::{ApprovalView, Ending, Enforced};
use remit_common::refusal::Refusal;
use remit_common::wire::{Access, AccessReport, Bytes, HistoryPage, HistoryQuery, Purpose};
use serde::{Deserialize, Serialize};

/// From the broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWarden {
    /// It has confined itself and serves from now on. Once.
    Ready,
    /// Run this. Descriptors: the script, then stdin, as far as `spec` names them, sealed.
    Run {
        /// For whom.
        session: u64,
        /// Comes back with the answer.
        ticket: u64,
        /// What.
        spec: Box<Spec>,
    },
    /// What may this session do.
    Access {
        /// For whom.
        session: u64,
        /// Comes back with the answer.
        ticket: u64,
        /// The question.
        access: Access,
    },
    /// End a job of this session's user.
    Stop {
        /// For whom.
        session: u64,
        /// Comes back with the answer.
        ticket: u64,
        /// Which job.
        job: JobId,
        /// The first signal; TERM when absent.
        signal: Option<i32>,
    },
    /// What has this session's user done here.
    History {
        /// For whom.
        session: u64,
        /// Comes back with the answer.
        ticket: u64,
        /// Which part.
        query: HistoryQuery,
    },
    /// A refusal of the broker's own (limits, bad frames), for the audit. The client has it already.
    Refused {
        /// To whom.
        session: u64,
        /// What.
        refusal: Refusal,
    },
    /// All output of an exited job is on disk.
    Drained {
        /// Which job.
        job: JobId,
        /// How much it was.
        totals: Totals,
    },
    /// A job wrote more than is kept: end it.
    OverLimit {
        /// Which job.
        job: JobId,
    },
    /// The client is gone, or was sent away.
    Closed {
        /// Which session.
        session: u64,
    },
}

/// From the warden.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToBroker {
    /// A client. Descriptor: its socket.
    Session {
        /// Its number, never used twice.
        session: u64,
        /// Who the kernel says it is: for limits and for whose jobs it may see.
        owner: Owner,
    },
    /// The client's process has ended: close, whatever the socket says.
    SessionGone {
        /// Which session.
        session: u64,
    },
    /// A job: just started or queued (with the ticket that asked for it), or handed over to a new
    /// broker. Descriptors: the read ends of stdout and stderr while it runs and has not been drained.
    Job {
        /// The request that is answered by this.
        ticket: Option<u64>,
        /// What is known of it.
        meta: Box<JobMeta>,
        /// Values that its output must not show. Of one that has ended there are none, though
        /// `meta.has_secrets` may say that it had some: then nobody can take them out any more.
        secrets: Vec<Bytes>,
    },
    /// The answer to a request that started nothing.
    Answer {
        /// Which request.
        ticket: u64,
        /// The answer.
        answer: Result<Answer, Refusal>,
    },
    /// A job that waited for an approval has it, and waits for a place.
    Approved {
        /// Which job.
        job: JobId,
    },
    /// A job that waited got a place. Descriptors: the read ends of stdout and stderr.
    Begun {
        /// Which job.
        job: JobId,
        /// Milliseconds since 1970.
        started_ms: u64,
        /// How long it waited, in milliseconds.
        waited_ms: u64,
    },
    /// The exec happened a while ago: this is what stood when it did.
    Running {
        /// Which job.
        job: JobId,
        /// What was enforced.
        enforced: Box<Enforced>,
    },
    /// No process of the job is left (or a kill could not be verified), and `Drained` was not said yet: read what is in
    /// the pipes, then say so.
    Exited {
        /// Which job.
        job: JobId,
    },
    /// The end is recorded.
    Ended {
        /// Which job.
        job: JobId,
        /// What was enforced, where it was executed: most have ended before `Running` was due.
        enforced: Option<Box<Enforced>>,
        /// How it ended.
        ending: Box<Ending>,
        /// What its profile lets it do, where it failed.
        sight: Option<Box<Sight>>,
    },
    /// Ended long ago, and no longer remembered: its output may go.
    Forgotten {
        /// Which job.
        job: JobId,
    },
    /// Where the kernel's audit is listened to (`audit.kernel` of remit.toml). Descriptor: a netlink
    /// socket that hears it. Once, before anything that runs.
    KernelAudit {
        /// The first uid that jobs alone have. What others are refused is none of the broker's business.
        uid_first: u32,
        /// How many there are.
        uid_count: u32,
    },
    /// All jobs that live or are remembered were handed over. Once, first thing.
    Adopted,
}

/// A request that the warden granted without starting anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The request id was used before, with the same content, for this job.
    Known(JobId),
    /// What the caller may do.
    Access(Box<AccessReport>),
    /// The job's end was begun.
    Stopping(JobId),
    /// What the caller has done here.
    History(Box<HistoryPage>),
}

/// A run or a change as the broker passes it on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// What to execute.
    pub what: SpecWhat,
    /// Where; `/` when absent.
    pub cwd: Option<Bytes>,
    /// Variables of the caller's.
    pub env: Vec<(Bytes, Bytes)>,
    /// A descriptor with standard input comes along.
    pub stdin: bool,
    /// The profile; `read` when absent.
    pub profile: Option<String>,
    /// Deadline in seconds.
    pub max_runtime_s: Option<u32>,
    /// The caller's id of this request.
    pub request_id: Option<String>,
    /// What the client calls itself.
    pub client: String,
    /// By what right.
    pub purpose: Purpose,
    /// The caller's trace, for the records.
    pub traceparent: Option<String>,
}

/// What a [`Spec`] executes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpecWhat {
    /// A program with its arguments.
    Argv(Vec<Bytes>),
    /// The script in the first descriptor.
    Script {
        /// Program name or path; `sh` when absent.
        interpreter: Option<Bytes>,
    },
    /// A command by its name. What comes as the standard input of one of [`remit_common::builtin`] is
    /// not the caller's: the broker gathered it.
    Named {
        /// Its name.
        name: String,
        /// Its arguments.
        args: Vec<(String, String)>,
    },
}

/// Whose something is. Removing an account frees its uid for the next one: the same number alone is not
/// the same user.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// The uid that the kernel told; limits count by it.
    pub uid: u32,
    /// The user's name then, or `#uid`.
    pub user: String,
}

/// What the broker needs to know of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobMeta {
    /// Its id.
    pub job: JobId,
    /// Whose it is.
    pub owner: Owner,
    /// Its argv, printable and short.
    pub command: String,
    /// What it waits for, before it runs.
    pub waits: Option<Waits>,
    /// Grows from job to job, also over restarts: a clock may go back, this does not.
    pub number: u64,
    /// When it started (one that waits: when it was asked for), in milliseconds since 1970.
    pub started_ms: u64,
    /// How long ago that was when this was said, in milliseconds of a clock that nobody sets;
    /// 0 for a job that has ended.
    pub age_ms: u64,
    /// How long it waited for its place, in milliseconds.
    pub waited_ms: u64,
    /// Once it runs.
    pub enforced: Option<Enforced>,
    /// Once it has ended.
    pub ending: Option<Ending>,
    /// Its arguments or its input hold secrets, which its output must not show.
    pub has_secrets: bool,
}

/// What a job waits for that has not begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Waits {
    /// A place among the jobs that run.
    Place,
    /// A person's approval.
    Approval(Box<ApprovalView>),
}

/// The output of a job in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Bytes of standard output.
    pub stdout_bytes: u64,
    /// Bytes of standard error.
    pub stderr_bytes: u64,
    /// SHA-256 of standard output followed by standard error, as kept.
    pub sha256: [u8; 32],
}
