//! Outcome of a job: its state, its output, and the enforced sandbox.

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::denial::Denial;
use crate::names::JobId;
use crate::refusal::Code;

/// Beginning of the cause if a person denied the request. Any other cause of [`State::Denied`] made it void.
pub const DENIED_BY: &str = "denied by ";

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A person has to approve it before it starts.
    AwaitingApproval,
    /// It waits for a free slot.
    Queued,
    /// It runs.
    Running,
    /// It ended by itself with a status.
    Exited,
    /// A signal ended it that was not remit's.
    Signalled,
    /// Its time was over.
    TimedOut,
    /// The kernel ended it for its memory.
    OomKilled,
    /// It wrote more than is kept.
    OutputLimit,
    /// Its owner or an administrator stopped it.
    Cancelled,
    /// It was refused after all, while it waited: by a person, or by a policy that is new since.
    Denied,
    /// Nobody approved it in time.
    Expired,
    /// The daemon ended before it had.
    Interrupted,
    /// A step before the exec failed; nothing of it ran.
    NotStarted,
}

impl State {
    /// Returns true before the start.
    #[must_use]
    pub const fn is_waiting(self) -> bool {
        matches!(self, Self::AwaitingApproval | Self::Queued)
    }

    /// Returns the state's name in JSON and in the audit log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AwaitingApproval => "awaiting_approval",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Exited => "exited",
            Self::Signalled => "signalled",
            Self::TimedOut => "timed_out",
            Self::OomKilled => "oom_killed",
            Self::OutputLimit => "output_limit",
            Self::Cancelled => "cancelled",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Interrupted => "interrupted",
            Self::NotStarted => "not_started",
        }
    }
}

/// One of a job's two output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

/// What confined a job: made from the child's own step reports and the
/// start-up witness, never from configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Enforced {
    /// The profile's name.
    pub profile: String,
    /// The uid that the job ran as. Only this job had it.
    pub uid: u32,
    /// The sandbox layers that were effective, in the order of their set-up.
    #[serde(rename = "walls")]
    pub layers: Vec<String>,
    /// The version of Landlock's interface used; 0 where the kernel has none.
    pub landlock: u32,
    /// Limits, each with what enforces it, such as `memory 536870912 (cgroup)`.
    pub limits: Vec<String>,
}

/// The end of a job, as the warden observed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// The final state.
    pub state: State,
    /// The exit status, where it exited.
    pub exit: Option<i32>,
    /// The signal that ended it, where one did.
    pub signal: Option<i32>,
    /// In words: what ended it, or which step failed.
    pub cause: String,
    /// Every process of it is gone, and that was checked.
    pub kill_verified: bool,
    /// CPU time of all its processes that were waited for, in microseconds.
    pub cpu_usec: u64,
    /// Peak memory in bytes: of the cgroup where it counts, else of the largest process.
    pub memory_peak: u64,
    /// Run time in milliseconds.
    pub runtime_ms: u64,
    /// Of what never ran because it was refused after all: the code, of which `cause` is the sentence.
    pub code: Option<Code>,
    /// What the agent can do instead.
    pub next: Option<String>,
    /// Refusals that the warden knows: by limits.
    pub denials: Vec<Denial>,
}

impl Ending {
    /// Makes an end without measurements: the job never ran, or nobody saw its end.
    #[must_use]
    pub const fn unmeasured(state: State, cause: String, kill_verified: bool) -> Self {
        Self {
            state,
            exit: None,
            signal: None,
            cause,
            kill_verified,
            cpu_usec: 0,
            memory_peak: 0,
            runtime_ms: 0,
            code: None,
            next: None,
            denials: Vec::new(),
        }
    }

    /// The same of what was refused after all.
    #[must_use]
    pub fn refused(self, code: Code, next: impl Into<String>) -> Self {
        Self {
            code: Some(code),
            next: Some(next.into()),
            ..self
        }
    }
}

/// The part of a stream that fits in an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Captured {
    /// All bytes written so far.
    pub total: u64,
    /// All newline characters among them.
    pub lines: u64,
    /// The first bytes.
    pub head: Bytes,
    /// The last bytes, where the whole did not fit in `head`. The gap is `total - head - tail`.
    pub tail: Bytes,
}

impl Captured {
    /// Bytes between head and tail.
    #[must_use]
    pub fn omitted(&self) -> u64 {
        self.total
            .saturating_sub(self.head.len() as u64)
            .saturating_sub(self.tail.len() as u64)
    }
}

/// A job as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobReport {
    /// Its id.
    pub job: JobId,
    /// Its argv, made printable and short.
    pub command: String,
    /// Where it is.
    pub state: State,
    /// How it ended; absent while it runs.
    pub ending: Option<Ending>,
    /// When it started (one that waits: when it was asked for), in milliseconds since 1970.
    pub started_ms: u64,
    /// Time in the queue, in milliseconds.
    pub waited_ms: u64,
    /// Its place in the queue, while it waits.
    #[serde(rename = "place")]
    pub queue_position: Option<QueuePosition>,
    /// The approvers, while it waits for an approval.
    pub approval: Option<ApprovalView>,
    /// The enforced layers; absent before the exec.
    pub enforced: Option<Enforced>,
    /// Standard output.
    pub stdout: Captured,
    /// Standard error.
    pub stderr: Captured,
    /// Refusals in the sandbox, at most [`crate::caps::DENIALS`].
    pub denials: Vec<Denial>,
    /// Sentences about what may mislead in this result.
    pub notes: Vec<String>,
}

/// The position of a queued job. Users take turns, so jobs of others do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct QueuePosition {
    /// 1: the next of its owner's.
    pub position: u32,
    /// Jobs of its owner that wait.
    pub of: u32,
}

/// A request that another person has to approve, as its requester sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ApprovalView {
    /// The approvers, as the policy names them.
    pub by: Vec<String>,
    /// Until when, in milliseconds since 1970; then it is void.
    pub expires_ms: u64,
    /// The line that one of them types in a terminal of their own.
    pub line: String,
    /// SHA-256 of all that will run, in hexadecimal: what they approve.
    pub digest: String,
}

/// A job in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JobSummary {
    /// Its id.
    #[serde(with = "id_text")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub job_id: JobId,
    /// Its argv, made printable and short.
    pub command: String,
    /// Where it is.
    pub state: State,
    /// The exit status, where it exited.
    pub exit: Option<i32>,
    /// When it started, in milliseconds since 1970.
    pub started_ms: u64,
    /// Bytes of output so far, both streams.
    pub output_bytes: u64,
}

/// A part of a job's output, which comes with its report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutputPart {
    /// A page.
    Page(Page),
    /// Lines that match.
    Matches(Matches),
}

/// Lines of one stream that match a pattern, and those around them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matches {
    /// Of this stream.
    pub stream: Stream,
    /// In their order.
    pub lines: Vec<Line>,
    /// Number of lines that match.
    pub matching: u32,
    /// The byte from which the search began: the start of a line.
    pub offset: u64,
    /// Up to here everything is searched and shown: the offset to go on from.
    pub next: u64,
    /// All bytes written so far.
    pub total: u64,
    /// No more will come after these.
    pub eof: bool,
}

/// A line of output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its number in the stream; the first is 1.
    pub number: u64,
    /// Where it begins.
    pub offset: u64,
    /// It matches; otherwise it is context of a line that does.
    pub matches: bool,
    /// Without its newline; of a long one the part around the match, at most
    /// [`crate::caps::GREP_LINE`] bytes.
    pub text: Bytes,
    /// Bytes of it that are left out.
    pub omitted: u64,
}

/// New output of a job, and its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// Where it is.
    pub state: State,
    /// Its place in the queue, while it waits.
    #[serde(rename = "place")]
    pub queue_position: Option<QueuePosition>,
    /// More of standard output, from the byte asked for on.
    pub stdout: Page,
    /// The same of standard error.
    pub stderr: Page,
    /// The whole report, once it has ended.
    pub report: Option<Box<JobReport>>,
}

/// A part of one stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Of this stream.
    pub stream: Stream,
    /// Offset of the first byte.
    pub offset: u64,
    /// The bytes.
    pub bytes: Bytes,
    /// All bytes written so far.
    pub total: u64,
    /// No more will come after these.
    pub eof: bool,
}

/// Ids are text in JSON and bytes in postcard.
mod id_text {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use crate::names::JobId;

    pub fn serialize<S: Serializer>(id: &JobId, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            to.collect_str(id)
        } else {
            id.serialize(to)
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<JobId, D::Error> {
        if from.is_human_readable() {
            String::deserialize(from)?.parse().map_err(D::Error::custom)
        } else {
            JobId::deserialize(from)
        }
    }
}
