//! Denials: actions that a sandbox layer refused while a job ran, and how to permit them.

use serde::{Deserialize, Serialize};

/// Something that was refused to a job, said once however often it was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Denial {
    /// The layer that refused.
    pub layer: Layer,
    /// The refused operation: `write`, `connect`, `signal`, …
    pub operation: String,
    /// On what, as the job named it.
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
    /// landlock(7).
    Landlock,
    /// The filter of system calls, seccomp(2).
    Seccomp,
    /// A mount of the job's own: read-only, or a directory that is private to it.
    Mounts,
    /// It is nobody but its own uid, without capabilities: ordinary permissions, signals.
    Identity,
    /// It has no network, or one of its own.
    Network,
    /// Processes and ids of the machine are not those it sees.
    Namespaces,
    /// Limits of its control group: memory, tasks, CPU.
    Cgroup,
    /// Limits of each of its processes, setrlimit(2).
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
    /// The profile's name.
    pub profile: String,
    /// Its base: `read`, `strict` or `host`.
    pub base: String,
    /// Paths that it sees; empty of `read` and `host`, which see everything that their uid may.
    pub read: Vec<String>,
    /// Paths that it may change.
    pub write: Vec<String>,
    /// Directories of the job's own, empty at its start.
    pub private: Vec<String>,
    /// Unix sockets that it may connect to.
    pub sockets: Vec<String>,
    /// Its network: `none`, `loopback`, `host`, or `HOST:PORT` once or more.
    pub network: Vec<String>,
}
