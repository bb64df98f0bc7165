//! seccomp filters of the broker: no exec, no fork, no network, no mount, no kernel administration. A deny list,
//! because tokio and libc change the calls that they use. The first filter returns ENOSYS for calls newer than this
//! table, which includes the higher x32 numbers, and for clone3, whose flags are in memory: libc falls back to clone.
//! The second returns EPERM by number and argument, and kills on calls of a foreign architecture.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter, sock_filter,
};

/// The first unknown number: setxattrat(2), Linux 6.13.
const TOO_NEW: u32 = 463;
const CLONE3: u32 = 435;

const REFUSED: &[c_long] = &[
    // The broker starts no programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pidfd_getfd,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    // Sockets come from the warden; the broker listens on none of its own.
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    // Ways around this filter, and kernel administration.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_syslog,
    libc::SYS_acct,
    libc::SYS_vhangup,
    libc::SYS_personality,
    // Clocks and names of the machine.
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    // Files other than plain ones that it creates, and metadata.
    libc::SYS_mknodat,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    libc::SYS_mkdirat,
    libc::SYS_renameat2,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_vmsplice,
    // IPC objects that would outlive the broker.
    libc::SYS_shmget,
    libc::SYS_semget,
    libc::SYS_msgget,
    libc::SYS_mq_open,
];

/// Denied calls that newer architectures do not have.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_mknod,
    libc::SYS_symlink,
    libc::SYS_link,
    libc::SYS_mkdir,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_kexec_file_load,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[c_long] = &[libc::SYS_renameat];

pub fn restrict() -> Result<(), String> {
    let refuse = refused().map_err(|error| format!("cannot make the seccomp program: {error}"))?;
    for program in [unknown(), refuse] {
        apply_filter(&program)
            .map_err(|error| format!("cannot restrict itself with seccomp: {error}"))?;
    }
    Ok(())
}

/// Returns the filter that refuses calls newer than this table, and clone3, with ENOSYS.
pub(super) fn unknown() -> BpfProgram {
    let op = |code: u32, jt, jf, k| sock_filter {
        // All codes of linux/bpf_common.h fit into u16. The kernel would reject u16::MAX.
        code: u16::try_from(code).unwrap_or(u16::MAX),
        jt,
        jf,
        k,
    };
    let enosys = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    vec![
        op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        op(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 2, 0, TOO_NEW),
        op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, 0, CLONE3),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, enosys),
    ]
}

fn refused() -> Result<BpfProgram, seccompiler::BackendError> {
    let is = |arg: u8, op: Op, value: u64| SeccompCondition::new(arg, Len::Dword, op, value);
    let flags = |value: i32| u64::from(value.unsigned_abs());
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> = REFUSED
        .iter()
        .chain(REFUSED_HERE)
        .map(|number| (*number, Vec::new()))
        .collect();
    // Threads are allowed, processes are not.
    let thread = flags(libc::CLONE_THREAD);
    rules.insert(
        libc::SYS_clone,
        vec![SeccompRule::new(vec![is(0, Op::MaskedEq(thread), 0)?])?],
    );
    // Only AF_UNIX (D-Bus, journald) and AF_NETLINK (kernel tables); no network.
    let neither = |unix: i32, netlink: i32| -> Result<_, seccompiler::BackendError> {
        Ok(vec![
            is(0, Op::Ne, flags(unix))?,
            is(0, Op::Ne, flags(netlink))?,
        ])
    };
    rules.insert(
        libc::SYS_socket,
        vec![SeccompRule::new(neither(libc::AF_UNIX, libc::AF_NETLINK)?)?],
    );
    // abort(3) signals its own thread. Signals to other processes are denied.
    let own = u64::from(std::process::id());
    rules.insert(
        libc::SYS_tgkill,
        vec![SeccompRule::new(vec![is(0, Op::Ne, own)?])?],
    );
    rules.insert(
        libc::SYS_prlimit64,
        vec![SeccompRule::new(vec![
            is(0, Op::Ne, 0)?,
            is(0, Op::Ne, own)?,
        ])?],
    );
    // No memory that is both writable and executable.
    let both = flags(libc::PROT_WRITE | libc::PROT_EXEC);
    let writable_code = || -> Result<_, seccompiler::BackendError> {
        Ok(vec![SeccompRule::new(vec![is(
            2,
            Op::MaskedEq(both),
            both,
        )?])?])
    };
    rules.insert(libc::SYS_mmap, writable_code()?);
    rules.insert(libc::SYS_mprotect, writable_code()?);
    // These requests insert characters into a terminal.
    let request = |code: u64| -> Result<_, seccompiler::BackendError> {
        SeccompRule::new(vec![is(1, Op::Eq, code)?])
    };
    rules.insert(
        libc::SYS_ioctl,
        vec![request(libc::TIOCSTI)?, request(libc::TIOCLINUX)?],
    );
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let eperm = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, eperm, arch)?.try_into()
}
