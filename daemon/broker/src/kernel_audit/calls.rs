//! Words for the system calls that a job's seccomp filter refuses.

#[cfg(target_arch = "x86_64")]
pub(super) const ARCH: u32 = 0xc000_003e;
#[cfg(not(target_arch = "x86_64"))]
pub(super) const ARCH: u32 = 0xc000_00b7;

/// The word for a call. `None` for a call that is refused in part, or shows no intent, as fcntl(2).
pub(super) fn operation(number: libc::c_long) -> Option<&'static str> {
    CALLS
        .iter()
        .chain(CALLS_HERE)
        .find_map(|(word, numbers)| numbers.contains(&number).then_some(*word))
}

const CALLS: &[(&str, &[libc::c_long])] = &[
    (
        "mount",
        &[
            libc::SYS_mount,
            libc::SYS_fsopen,
            libc::SYS_fsconfig,
            libc::SYS_fsmount,
            libc::SYS_fspick,
            libc::SYS_open_tree,
            libc::SYS_move_mount,
            libc::SYS_mount_setattr,
            // open_tree_attr(2), Linux 6.15.
            467,
        ],
    ),
    ("unmount", &[libc::SYS_umount2]),
    ("pivot_root", &[libc::SYS_pivot_root]),
    ("chroot", &[libc::SYS_chroot]),
    ("open_by_handle_at", &[libc::SYS_open_by_handle_at]),
    ("unshare", &[libc::SYS_unshare]),
    ("setns", &[libc::SYS_setns]),
    // clone(2) is refused for new namespaces, which unshare(1) also requests.
    ("clone", &[libc::SYS_clone]),
    ("ptrace", &[libc::SYS_ptrace]),
    (
        "process_vm",
        &[
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_process_madvise,
        ],
    ),
    ("pidfd_getfd", &[libc::SYS_pidfd_getfd]),
    ("bpf", &[libc::SYS_bpf]),
    ("perf_event_open", &[libc::SYS_perf_event_open]),
    ("userfaultfd", &[libc::SYS_userfaultfd]),
    (
        "io_uring",
        &[
            libc::SYS_io_uring_setup,
            libc::SYS_io_uring_enter,
            libc::SYS_io_uring_register,
        ],
    ),
    ("io_setup", &[libc::SYS_io_setup]),
    (
        "fanotify",
        &[libc::SYS_fanotify_init, libc::SYS_fanotify_mark],
    ),
    (
        "keys",
        &[libc::SYS_add_key, libc::SYS_request_key, libc::SYS_keyctl],
    ),
    (
        "module",
        &[
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_delete_module,
        ],
    ),
    ("kexec", &[libc::SYS_kexec_load]),
    ("reboot", &[libc::SYS_reboot]),
    ("swap", &[libc::SYS_swapon, libc::SYS_swapoff]),
    ("acct", &[libc::SYS_acct]),
    ("quota", &[libc::SYS_quotactl]),
    (
        "set_time",
        &[libc::SYS_settimeofday, libc::SYS_clock_settime],
    ),
    (
        "set_hostname",
        &[libc::SYS_sethostname, libc::SYS_setdomainname],
    ),
    (
        "sysv_ipc",
        &[
            libc::SYS_shmget,
            libc::SYS_shmat,
            libc::SYS_shmctl,
            libc::SYS_semget,
            libc::SYS_semop,
            libc::SYS_semtimedop,
            libc::SYS_semctl,
            libc::SYS_msgget,
            libc::SYS_msgsnd,
            libc::SYS_msgrcv,
            libc::SYS_msgctl,
        ],
    ),
    (
        "mq",
        &[
            libc::SYS_mq_open,
            libc::SYS_mq_unlink,
            libc::SYS_mq_timedsend,
            libc::SYS_mq_timedreceive,
            libc::SYS_mq_notify,
            libc::SYS_mq_getsetattr,
        ],
    ),
    ("socket", &[libc::SYS_socket]),
    ("socketpair", &[libc::SYS_socketpair]),
    ("bind", &[libc::SYS_bind]),
    ("connect", &[libc::SYS_connect]),
    ("syslog", &[libc::SYS_syslog]),
    ("personality", &[libc::SYS_personality]),
    ("ioctl", &[libc::SYS_ioctl]),
];

#[cfg(target_arch = "x86_64")]
const CALLS_HERE: &[(&str, &[libc::c_long])] = &[
    ("kexec", &[libc::SYS_kexec_file_load]),
    ("ports", &[libc::SYS_iopl, libc::SYS_ioperm]),
];
#[cfg(not(target_arch = "x86_64"))]
const CALLS_HERE: &[(&str, &[libc::c_long])] = &[];
