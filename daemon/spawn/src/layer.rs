//! The sandbox layers by name: what a self-test tries, and what tests switch off one by one. Profiles: what the policy sets
//! for a sandbox. Data only.

use std::net::IpAddr;
use std::path::PathBuf;

use remit_sys::Limits;
use serde::{Deserialize, Serialize};

use crate::Kernel;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[repr(u8)]
pub enum Layer {
    Identity = 1,
    /// Five empty capability sets, securebits locked.
    Capabilities,
    NoNewPrivs,
    PidNamespace,
    /// No mount of the host can be written: EROFS.
    ReadOnlyMounts,
    /// No file of the host gives rights by its mode.
    NoSuid,
    /// Only the six device nodes of the minimal `/dev` work.
    NoDev,
    /// `/tmp`, `/var/tmp` and `/dev/shm` are the job's own, empty and bounded.
    PrivateTmp,
    /// Landlock: nothing outside the private directories can be opened for writing, FIFOs included.
    Landlock,
    /// Landlock: no signal to a process outside the domain, even of the same uid.
    LandlockScope,
    /// No socket except for netlink queries.
    SeccompSockets,
    SeccompSocketpair,
    SeccompIpc,
    /// No lock is taken, nothing is flushed, no shared wait or pipe is changed.
    SeccompLocks,
    SeccompRefused,
    /// Numbers this release does not know, and clone3, do not exist.
    SeccompUnknown,
    Keyring,
    /// Only stdin, stdout, stderr (and the script) are open.
    Descriptors,
    /// The limits asked for, as far as remit's own hard limits allow. A job cannot change its core limit.
    Rlimits,
    /// Normal priority, policy and io class; killed first if memory runs out.
    Scheduling,
    /// Base `strict`: only the listed parts of the host's tree exist.
    PrivateRoot,
    /// Base `strict`: only listed files can be executed. A job can still run what it writes into its own memory.
    NoExec,
    /// Base `strict`: no interface and no name of the host's network.
    NetworkNamespace,
    /// Base `strict`: no System V or POSIX object of the host.
    IpcNamespace,
    /// Base `strict`: the host's name cannot be changed, whatever capabilities a job has.
    UtsNamespace,
    /// Base `strict`: only the job's own cgroup is visible.
    CgroupNamespace,
    Measured,
    /// A view: its root is nobody on the machine.
    UserNamespace,
    /// A view: what an operator's account cannot read is hidden from its root.
    Mask,
}

impl Layer {
    /// Every layer that a self-test can try. `Measured` is missing: only a job with an approval has it. Those of views are, too.
    pub const ALL: [Layer; 26] = [
        Layer::Identity,
        Layer::Capabilities,
        Layer::NoNewPrivs,
        Layer::PidNamespace,
        Layer::ReadOnlyMounts,
        Layer::NoSuid,
        Layer::NoDev,
        Layer::PrivateTmp,
        Layer::Landlock,
        Layer::LandlockScope,
        Layer::SeccompSockets,
        Layer::SeccompSocketpair,
        Layer::SeccompIpc,
        Layer::SeccompLocks,
        Layer::SeccompRefused,
        Layer::SeccompUnknown,
        Layer::Keyring,
        Layer::Descriptors,
        Layer::Rlimits,
        Layer::Scheduling,
        Layer::PrivateRoot,
        Layer::NoExec,
        Layer::NetworkNamespace,
        Layer::IpcNamespace,
        Layer::UtsNamespace,
        Layer::CgroupNamespace,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Layer::Identity => "identity",
            Layer::Capabilities => "capabilities",
            Layer::NoNewPrivs => "no_new_privs",
            Layer::PidNamespace => "pid_namespace",
            Layer::ReadOnlyMounts => "read_only_mounts",
            Layer::NoSuid => "nosuid",
            Layer::NoDev => "nodev",
            Layer::PrivateTmp => "private_tmp",
            Layer::Landlock => "landlock",
            Layer::LandlockScope => "landlock_scope",
            Layer::SeccompSockets => "seccomp_sockets",
            Layer::SeccompSocketpair => "seccomp_socketpair",
            Layer::SeccompIpc => "seccomp_ipc",
            Layer::SeccompLocks => "seccomp_locks",
            Layer::SeccompRefused => "seccomp_refused",
            Layer::SeccompUnknown => "seccomp_unknown",
            Layer::Keyring => "keyring",
            Layer::Descriptors => "descriptors",
            Layer::Rlimits => "rlimits",
            Layer::Scheduling => "scheduling",
            Layer::PrivateRoot => "private_root",
            Layer::NoExec => "noexec",
            Layer::NetworkNamespace => "network_namespace",
            Layer::IpcNamespace => "ipc_namespace",
            Layer::UtsNamespace => "uts_namespace",
            Layer::CgroupNamespace => "cgroup_namespace",
            Layer::Measured => "measured",
            Layer::UserNamespace => "user_namespace",
            Layer::Mask => "mask",
        }
    }
}

impl Layer {
    /// Returns why this kernel lacks this layer, and what replaces it. Every supported kernel has all others.
    pub fn absent(self, kernel: &Kernel) -> Option<&'static str> {
        match self {
            Layer::Landlock if kernel.landlock_abi < 1 => {
                Some("no Landlock; read-only mounts and the job's own uid still apply")
            }
            Layer::LandlockScope if kernel.landlock_abi < 6 => Some(
                "no Landlock version 6; the job's own uid, and in strict its pid namespace, still apply",
            ),
            Layer::Keyring if !kernel.keyrings => Some("no keyrings; nothing to protect"),
            _ => None,
        }
    }
}

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

/// A copy-on-write view of the machine: jobs are root of a user namespace of their own, and what they write stays in memory
/// and goes with them. Each job needs a cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewProfile {
    /// Groups of the account that looks: what it cannot read is hidden.
    pub groups: Vec<u32>,
    /// Bytes and inodes that a view can write.
    pub area: (u64, u64),
    /// Nothing is hidden but remit's own files and the passwords of accounts: jobs read what root reads.
    pub sees_all: bool,
    /// Names and ports that jobs reach by a proxy at their port 3128.
    pub names: Vec<(String, u16)>,
    pub limits: Limits,
}

/// Reads a view after its job's end: as root of its user namespace, with the right to read alone. Sees the machine as `read`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtractProfile {
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
    /// Itself, and by HTTP these names and ports, which it names to a proxy at its port 3128.
    Names(Vec<(String, u16)>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// A name, which the job's own `/etc/hosts` has, or an address as text.
    pub host: String,
    /// If a connection to the one that a job chose fails, the others are tried.
    pub addresses: Vec<FarAddress>,
    pub port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FarAddress {
    pub ip: IpAddr,
    /// If false, no connection goes there while it is an address of the host.
    pub may_be_own: bool,
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
    View(ViewProfile),
    Extract(ExtractProfile),
}
