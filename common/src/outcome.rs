//! Outcome of a job: its state, its output, and the enforced sandbox.

use serde::{Deserialize, Serialize};

use crate::denial::Denial;
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

/// What confined a job: made from the child's own step reports and the start-up witness, never from configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Enforced {
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
    pub state: State,
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
