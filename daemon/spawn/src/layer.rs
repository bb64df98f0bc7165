//! The sandbox layers by name: what a self-test tries, and what tests switch off one by one.

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
}

impl Layer {
    /// Every layer that a self-test can try. `Measured` is missing: only a job with an approval has it.
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

    /// Returns the name in findings and in the audit log.
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
