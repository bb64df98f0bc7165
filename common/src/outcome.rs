//! Outcome of a job: its state, its output, and the enforced sandbox.

use serde::{Deserialize, Serialize};

use self::denial::Denial;
use crate::names::JobId;
use crate::refusal::Code;

pub mod denial {
    //! Denials: actions that a sandbox layer refused while a job ran, and how to permit them.

    use serde::{Deserialize, Serialize};

    /// Something that was refused to a job, said once however often it was tried.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
    pub struct Denial {
        pub layer: Layer,
        /// The refused operation: `write`, `connect`, `signal`, …
        pub operation: String,
        /// On what, as the job named it; ` and N more` follows if the same is true of others.
        pub object: Option<String>,
        /// The profile, limit or rule by which it is so.
        pub rule: String,
        /// What a person can do to allow it.
        pub lift: Option<String>,
        /// What the agent can do instead.
        pub next: Option<String>,
        /// Nobody saw the refusal: it is concluded from what the job wrote and from its profile.
        pub guess: bool,
    }

    /// Layers that can refuse something to a running job.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
    #[serde(rename_all = "snake_case")]
    pub enum Layer {
        /// The warden, before or instead of a start.
        Policy,
        Landlock,
        Seccomp,
        /// A mount of the job's own: read-only, or a directory that is private to it.
        Mounts,
        /// It is nobody but its own uid, without capabilities: ordinary permissions, signals.
        Identity,
        /// It has no network, or one of its own.
        Network,
        /// Processes and ids of the machine are not those it sees.
        Namespaces,
        Cgroup,
        Rlimit,
        /// `remit-bus`: of the system bus it gets answers to questions.
        Bus,
    }

    impl Layer {
        /// Returns the layer's name in JSON and in the audit log.
        #[must_use]
        pub const fn as_str(self) -> &'static str {
            match self {
                Self::Policy => "policy",
                Self::Landlock => "landlock",
                Self::Seccomp => "seccomp",
                Self::Mounts => "mounts",
                Self::Identity => "identity",
                Self::Network => "network",
                Self::Namespaces => "namespaces",
                Self::Cgroup => "cgroup",
                Self::Rlimit => "rlimit",
                Self::Bus => "bus",
            }
        }
    }

    /// Rights of a profile's jobs, as far as they explain a refusal: from the policy, never from the disk.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct ProfileVisibility {
        pub profile: String,
        /// Its base: `read`, `strict` or `host`.
        pub base: String,
        /// Paths that it sees; empty of `read` and `host`, which see everything that their uid may.
        pub read: Vec<String>,
        pub write: Vec<String>,
        /// Directories of the job's own, empty at its start.
        pub private: Vec<String>,
        pub sockets: Vec<String>,
        /// Its network: `none`, `loopback`, `host`, or `HOST:PORT` once or more.
        pub network: Vec<String>,
    }
}

/// Beginning of the cause if a person denied the request. Any other cause of [`State::Denied`] made it void.
pub const DENIED_BY: &str = "denied by ";

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

/// How the limit begins that has the names which a copy's job reaches.
pub const NAMES_REACHED: &str = "network ";

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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    pub state: State,
    pub exit: Option<i32>,
    pub signal: Option<i32>,
    /// In words: what ended it, or which step failed.
    pub cause: String,
    /// Every process of it is gone, and that was checked.
    pub kill_verified: bool,
    /// CPU time of all its processes that were waited for, in microseconds.
    pub cpu_usec: u64,
    /// Peak memory in bytes: of the cgroup where it counts, else of the largest process.
    pub memory_peak: u64,
    pub runtime_ms: u64,
    /// Of what never ran because it was refused after all: the code, of which `cause` is the sentence.
    pub code: Option<Code>,
    pub next: Option<String>,
    /// Refusals that the warden knows: by limits.
    pub denials: Vec<Denial>,
}

impl Ending {
    #[must_use]
    pub fn has_succeeded(&self) -> bool {
        self.state == State::Exited && self.exit == Some(0)
    }

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

    #[must_use]
    pub fn refused(self, code: Code, next: impl Into<String>) -> Self {
        Self {
            code: Some(code),
            next: Some(next.into()),
            ..self
        }
    }
}

/// A command that follows a commit of files, in the approval of the commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowUp {
    /// `service.reload unit=nginx.service`.
    pub command: String,
    /// Absent if it was never started.
    pub job: Option<JobId>,
    pub state: State,
    pub exit: Option<i32>,
    /// In words, once it is over.
    pub cause: String,
}

impl FollowUp {
    #[must_use]
    pub fn has_run(&self) -> bool {
        let is_refused = matches!(
            self.state,
            State::NotStarted | State::Denied | State::Expired
        );
        self.job.is_some() && !self.state.is_waiting() && !is_refused
    }

    #[must_use]
    pub fn has_succeeded(&self) -> bool {
        (self.state, self.exit) == (State::Exited, Some(0))
    }

    #[must_use]
    pub fn is_over(&self) -> bool {
        !self.state.is_waiting() && self.state != State::Running
    }
}

/// A request that another person has to approve, as its requester sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ApprovalView {
    pub by: Vec<String>,
    /// Until when, in milliseconds since 1970; then it is void.
    pub expires_ms: u64,
    /// The line that approvers type in a terminal of their own.
    pub line: String,
    /// SHA-256 of all that will run, in hexadecimal: what they approve.
    pub digest: String,
}
