//! Profiles: what the policy sets for a sandbox. Data only.

use std::net::IpAddr;
use std::path::PathBuf;

use remit_sys::Limits;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ListedPath {
    /// Absolute, without `.`, `..`, doubled or final slashes.
    pub path: PathBuf,
    /// A missing path is left out. If it is not optional, nothing runs without it.
    pub optional: bool,
}

/// A `read` sandbox: jobs see what their user sees, and change only what is listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadProfile {
    pub groups: Vec<u32>,
    pub limits: Limits,
    pub capabilities: u64,
    /// Writable on the host, not executable.
    pub write: Vec<ListedPath>,
    /// Device nodes that work, in addition to the harmless ones.
    pub devices: Vec<ListedPath>,
    pub network: bool,
    /// A connect(2) with an address as long as the system bus's is answered by remit-bus. Not with `network`.
    pub has_bus: bool,
    pub inspect: Option<Inspect>,
}

/// A right of root's to look, and what a `read` sandbox keeps back of it. Without other additions to `read`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Inspect {
    /// Names and sizes in every directory. Landlock refuses file content, other processes, and other programs.
    Names { program: PathBuf },
    /// All processes. Landlock would hide them, so the filter allows only looks. remit-look closes their content to itself.
    Processes,
    /// One file, which is opened before the program starts and with it gives up the right.
    File,
}

impl Inspect {
    /// Bits as in capabilities(7): `CAP_DAC_READ_SEARCH`, and `CAP_SYS_PTRACE` for the processes of others.
    pub fn capabilities(&self) -> u64 {
        const DAC_READ_SEARCH: u64 = 1 << 2;
        const SYS_PTRACE: u64 = 1 << 19;
        match self {
            Self::Names { .. } | Self::File => DAC_READ_SEARCH,
            Self::Processes => DAC_READ_SEARCH | SYS_PTRACE,
        }
    }
}

/// A `strict` sandbox: jobs see only what is listed and a base set, in namespaces of their own. A path means the one mount
/// that it lies on. A mount beneath it must be listed itself; otherwise what that mount hides on the host is visible. A
/// listed file can be written but not replaced. If `sockets` lets Unix sockets be made, a job can connect to every socket in
/// a listed directory that its mode opens to the job's user. The job's cgroup counts the processes of a user that is not the
/// job's own. Without the pids controller they count together with the user's others (`Limits::others`), and root's do not
/// count at all. Such a user's other processes on the host can signal the job, but not the other way round.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrictProfile {
    /// Uid and gid of its jobs. `None`: each job has its own uid.
    pub user: Option<(u32, u32)>,
    pub groups: Vec<u32>,
    pub capabilities: u64,
    pub read: Vec<ListedPath>,
    pub write: Vec<ListedPath>,
    /// Visible and executable, not writable, in addition to `/usr`.
    pub exec: Vec<ListedPath>,
    pub devices: Vec<ListedPath>,
    pub sockets: Vec<ListedPath>,
    /// Private to the job and temporary: empty at first, writable, not executable. Like `/tmp`, `/var/tmp`, `/dev/shm`.
    pub scratch: Vec<PathBuf>,
    /// Lets a path be in both `write` and `exec`; otherwise that is refused.
    pub write_and_exec: bool,
    pub network: Network,
    pub limits: Limits,
}

/// All rights of the user. Only cgroup, login uid, session, descriptors, environment and limits are its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostProfile {
    pub user: (u32, u32),
    pub groups: Vec<u32>,
    pub limits: Limits,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// Nothing, not even itself.
    #[default]
    None,
    Loopback,
    /// Itself, and these by TCP.
    Connect(Vec<Destination>),
    /// What the host reaches: no network of its own.
    Host,
    /// Itself, and by TCP any port of this host's own addresses, which it names by SOCKS at its port 1080.
    ThisHost,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// A name, which the job's `/etc/hosts` will have, or an address as text.
    pub host: String,
    /// If a connection to the one that a job chose fails, the others are tried.
    pub addresses: Vec<IpAddr>,
    pub port: u16,
}

/// A profile of any base, and how it is to be compiled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    pub profile: Profile,
    /// The kernel's audit gets what the layers refuse.
    pub is_audited: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    Read(ReadProfile),
    Strict(StrictProfile),
    Host(HostProfile),
}
