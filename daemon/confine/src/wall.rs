//! The walls of the `read` sandbox, by name: what a witness tries, and what tests switch off
//! one by one.

use crate::Kernel;

/// One thing a sandbox holds, that a test can see missing by its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Wall {
    /// Own uid and gid, exactly the profile's groups.
    Identity = 1,
    /// Five empty capability sets, securebits locked.
    Capabilities,
    /// No execve(2) gives rights.
    NoNewPrivs,
    /// No process of the host can be named.
    PidNamespace,
    /// No mount of the host can be written, by EROFS.
    ReadOnlyMounts,
    /// No file of the host brings rights by its mode.
    NoSuid,
    /// No device node works but the six of the minimal `/dev`.
    NoDev,
    /// `/tmp`, `/var/tmp` and `/dev/shm` are the job's own, empty and bounded.
    PrivateTmp,
    /// Landlock: nothing outside the private directories is opened for writing, FIFOs too.
    Landlock,
    /// Landlock: no signal to a process outside the domain, even of the same uid.
    LandlockScope,
    /// No socket but netlink queries.
    SeccompSockets,
    /// No datagram pair, no bind or connect to a Unix address.
    SeccompSocketpair,
    /// No System V or POSIX object is made or used.
    SeccompIpc,
    /// No lock is taken, nothing is flushed, no shared wait or pipe is changed.
    SeccompLocks,
    /// Calls refused by number or argument.
    SeccompRefused,
    /// Numbers this release does not know, and clone3, do not exist.
    SeccompUnknown,
    /// A session keyring of its own.
    Keyring,
    /// No descriptor but stdin, stdout, stderr (and the script).
    Descriptors,
    /// The limits asked for, as far as the own hard limits go; the one of cores stays.
    Rlimits,
    /// Ordinary priority, policy and io class; first to be killed for memory.
    Scheduling,
    /// Base `strict`: nothing of the host's tree but what is listed.
    PrivateRoot,
    /// Base `strict`: no file is executed but what is listed for it. What a job writes into its own
    /// memory it can run.
    NoExec,
    /// Base `strict`: no interface and no name of the host's network.
    NetworkNamespace,
    /// Base `strict`: no System V or POSIX object of the host.
    IpcNamespace,
    /// Base `strict`: the host's name cannot be changed, whatever a job may.
    UtsNamespace,
    /// Base `strict`: nothing of the host's cgroups but the job's own.
    CgroupNamespace,
    /// What was approved is what is executed.
    Measured,
}

impl Wall {
    /// Every wall that a witness can try: all but the last, which only a job that somebody approved
    /// has.
    pub const ALL: [Wall; 26] = [
        Wall::Identity,
        Wall::Capabilities,
        Wall::NoNewPrivs,
        Wall::PidNamespace,
        Wall::ReadOnlyMounts,
        Wall::NoSuid,
        Wall::NoDev,
        Wall::PrivateTmp,
        Wall::Landlock,
        Wall::LandlockScope,
        Wall::SeccompSockets,
        Wall::SeccompSocketpair,
        Wall::SeccompIpc,
        Wall::SeccompLocks,
        Wall::SeccompRefused,
        Wall::SeccompUnknown,
        Wall::Keyring,
        Wall::Descriptors,
        Wall::Rlimits,
        Wall::Scheduling,
        Wall::PrivateRoot,
        Wall::NoExec,
        Wall::NetworkNamespace,
        Wall::IpcNamespace,
        Wall::UtsNamespace,
        Wall::CgroupNamespace,
    ];

    /// Its name in findings and in the audit.
    pub fn name(self) -> &'static str {
        match self {
            Wall::Identity => "identity",
            Wall::Capabilities => "capabilities",
            Wall::NoNewPrivs => "no_new_privs",
            Wall::PidNamespace => "pid_namespace",
            Wall::ReadOnlyMounts => "read_only_mounts",
            Wall::NoSuid => "nosuid",
            Wall::NoDev => "nodev",
            Wall::PrivateTmp => "private_tmp",
            Wall::Landlock => "landlock",
            Wall::LandlockScope => "landlock_scope",
            Wall::SeccompSockets => "seccomp_sockets",
            Wall::SeccompSocketpair => "seccomp_socketpair",
            Wall::SeccompIpc => "seccomp_ipc",
            Wall::SeccompLocks => "seccomp_locks",
            Wall::SeccompRefused => "seccomp_refused",
            Wall::SeccompUnknown => "seccomp_unknown",
            Wall::Keyring => "keyring",
            Wall::Descriptors => "descriptors",
            Wall::Rlimits => "rlimits",
            Wall::Scheduling => "scheduling",
            Wall::PrivateRoot => "private_root",
            Wall::NoExec => "noexec",
            Wall::NetworkNamespace => "network_namespace",
            Wall::IpcNamespace => "ipc_namespace",
            Wall::UtsNamespace => "uts_namespace",
            Wall::CgroupNamespace => "cgroup_namespace",
            Wall::Measured => "measured",
        }
    }
}

impl Wall {
    /// Why this kernel has no such wall, and who carries what it would; `None` where it has.
    /// All others every supported kernel has.
    pub fn absent(self, kernel: &Kernel) -> Option<&'static str> {
        match self {
            Wall::Landlock if kernel.landlock_abi < 1 => {
                Some("no Landlock; read-only mounts and the own uid stand without it")
            }
            Wall::LandlockScope if kernel.landlock_abi < 6 => Some(
                "no Landlock of version 6; the own uid, in strict the pid namespace stand without it",
            ),
            Wall::Keyring if !kernel.keyrings => Some("no keyrings; nothing to be kept from"),
            _ => None,
        }
    }
}

/// Which walls stand: all, but in tests with the feature `mutate`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walls {
    #[cfg(feature = "mutate")]
    off: Option<Wall>,
}

impl Walls {
    pub(crate) const ALL: Walls = Walls {
        #[cfg(feature = "mutate")]
        off: None,
    };

    #[cfg(feature = "mutate")]
    pub(crate) fn without(wall: Wall) -> Walls {
        Walls { off: Some(wall) }
    }

    /// As `of` takes it.
    #[cfg(feature = "mutate")]
    pub(crate) fn number(self) -> u8 {
        self.off.map_or(0, |wall| wall as u8)
    }

    #[cfg(feature = "mutate")]
    pub(crate) fn of(number: u8) -> Walls {
        let off = Wall::ALL.into_iter().find(|wall| *wall as u8 == number);
        Walls { off }
    }

    /// As `of` takes it.
    #[cfg(not(feature = "mutate"))]
    pub(crate) fn number(self) -> u8 {
        0
    }

    #[cfg(not(feature = "mutate"))]
    pub(crate) fn of(_number: u8) -> Walls {
        Walls::ALL
    }

    #[cfg(feature = "mutate")]
    pub(crate) fn up(self, wall: Wall) -> bool {
        self.off != Some(wall)
    }

    #[cfg(not(feature = "mutate"))]
    pub(crate) fn up(self, _wall: Wall) -> bool {
        true
    }
}
