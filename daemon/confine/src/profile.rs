//! Profiles: what policy says of a sandbox. Data alone.

use crate::Limits;
use crate::net::Network;
use std::path::PathBuf;

/// A path that a profile lists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Absolute, without `.`, `..`, doubled or final slashes.
    pub path: PathBuf,
    /// Left out where it is not there; else nothing runs without it.
    pub optional: bool,
}

/// A `read` sandbox: sees what its user sees, changes nothing but what is listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadProfile {
    /// Supplementary groups of its jobs, exactly these.
    pub groups: Vec<u32>,
    /// The most a job may ask for, and what the witness runs with.
    pub limits: Limits,
    /// Capabilities that its jobs keep, bits as in capabilities(7).
    pub capabilities: u64,
    /// Can be changed on the host, not executed.
    pub write: Vec<Place>,
    /// Device nodes that work, besides the harmless ones.
    pub devices: Vec<Place>,
    /// Internet sockets, in the host's network.
    pub network: bool,
}

/// A `strict` sandbox: sees only what is listed and a base set, in namespaces of its own.
///
/// A path stands for the one mount it lies on. What is mounted beneath it has to be listed by itself;
/// else what that mount hides on the host is seen. A listed file can be written but not replaced.
/// Where `sockets` lets Unix sockets be made, every socket that lies in a listed directory can be
/// connected to, as far as its mode lets the job's user.
///
/// The processes of a user that is not the job's own are counted by the job's cgroup; where the pids
/// controller is not delegated, together with the user's others (`Limits::others`), and root's not at
/// all. Such a user's other processes on the
/// host can signal the job, not the other way round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StrictProfile {
    /// Uid and gid of its jobs; `None`: a uid of its own for each.
    pub user: Option<(u32, u32)>,
    /// Supplementary groups of its jobs, exactly these.
    pub groups: Vec<u32>,
    /// Capabilities that its jobs keep, bits as in capabilities(7).
    pub capabilities: u64,
    /// Seen, not changed, not executed.
    pub read: Vec<Place>,
    /// Seen and changed on the host, not executed.
    pub write: Vec<Place>,
    /// Seen and executed, not changed, besides `/usr`.
    pub exec: Vec<Place>,
    /// Device nodes that work, besides the harmless ones.
    pub devices: Vec<Place>,
    /// Unix sockets of the host that can be connected to.
    pub sockets: Vec<Place>,
    /// The job's own, empty at the start, writable, gone at the end, not executed; besides `/tmp`,
    /// `/var/tmp` and `/dev/shm`.
    pub scratch: Vec<PathBuf>,
    /// What stands in `write` and `exec` both may be both at once; refused without.
    pub write_and_exec: bool,
    /// What it reaches.
    pub network: Network,
    /// The most a job may ask for, and what the witness runs with.
    pub limits: Limits,
}

/// No sandbox: a user's whole rights. What holds are the cgroup, the
/// login uid, a session, descriptors, environment and limits of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostProfile {
    /// Uid and gid of its jobs.
    pub user: (u32, u32),
    /// Supplementary groups of its jobs, exactly these.
    pub groups: Vec<u32>,
    /// The most a job may ask for.
    pub limits: Limits,
}
