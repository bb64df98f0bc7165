//! Rules that some kinds of profile have instead of the table's.

use super::checks::{
    ASYNC, BUS_ADDRESSES, DIRECT_AARCH64, DIRECT_X86_64, EAFNOSUPPORT, EMFILE, ENOMEM, ENOSYS,
    EPERM, EXTENTS, FLOW_LABELS, IOCTLS, NETLINK_ADDRESS, RECEIVES_IDS, SIGNALS_OF_FILES,
    SOCKET_PROGRAMS, SOL_SOCKET, SOL_UDP, SOL_UDPLITE, STALLS, TCP_KEYS, no_direct, not_set_later,
    udp_tunnels,
};
use crate::Layer;
use crate::steps::seccomp::rule::{Check, Group, Instead, Rule, Want};

/// `O_ACCMODE`, `O_CREAT` and `O_TRUNC`.
const WRITES: u32 = 0o1103;
const READ_ONLY_OPEN: Check = Check {
    arg: 1,
    mask: WRITES,
    want: Want::OneOf(&[0]),
    errno: EPERM,
};
const READ_ONLY_OPEN_AT: Check = Check {
    arg: 2,
    ..READ_ONLY_OPEN
};
/// Calls of a job that inspects: those of its start, its loader and runtime, and those that look. Others answer EPERM.
#[rustfmt::skip]
pub(in crate::steps::seccomp) const LOOKING: &[&str] = &[
    "open", "openat", "close", "read", "pread64", "readv", "lseek", "stat", "lstat", "fstat", "newfstatat", "statx", "statfs",
    "fstatfs", "readlink", "readlinkat", "getdents", "getdents64", "access", "faccessat", "faccessat2", "getcwd", "chdir",
    "fchdir", "uname", "sysinfo", "getrusage", "times",
    "write", "writev", "poll", "ppoll", "select", "pselect6",
    "execve", "execveat", "exit", "exit_group", "brk", "mmap", "munmap", "mprotect", "mremap", "madvise", "arch_prctl",
    "set_tid_address", "set_robust_list", "rseq", "rseq_slice_yield", "futex", "sigaltstack", "rt_sigaction", "rt_sigprocmask",
    "rt_sigreturn", "restart_syscall", "tgkill", "getrandom", "sched_getaffinity", "sched_yield", "clock_gettime",
    "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "getpid", "gettid", "getppid", "getuid", "geteuid",
    "getgid", "getegid", "getresuid", "getresgid", "getgroups", "getrlimit", "capget", "seccomp",
    // Start: by the child, before its program. It has no right to set what these set.
    "recvmsg", "sendmsg", "recvfrom", "sendto", "dup", "dup2", "dup3", "fcntl", "close_range", "prctl", "prlimit64",
    "setrlimit", "setgroups", "setresuid", "setresgid", "capset", "ioctl",
];

/// SO_SNDBUF, SO_RCVBUF, and SO_RESERVE_MEM, which adds to what all networks have together.
const SOCKET_BUFFERS: Check = Check {
    arg: 2,
    mask: !0,
    want: Want::NoneOfIf {
        arg: 1,
        is: SOL_SOCKET,
        values: &[7, 8, 73],
    },
    errno: 0,
};
/// `sizeof(struct sockaddr_in)`, `sizeof(struct sockaddr_in6)`.
const INTERNET_ADDRESSES: [u32; 2] = [16, 28];
/// Allowed protocols, for each family its own, because numbers differ. Netlink: ROUTE, SOCK_DIAG, GENERIC. Internet:
/// any, ICMP, TCP, UDP and ICMPv6; others would load modules or bypass layers that know only TCP.
const fn protocols(family: u32, values: &'static [u32]) -> Check {
    Check {
        arg: 2,
        mask: !0,
        want: Want::OneOfIf {
            arg: 0,
            is: family,
            values,
        },
        errno: EAFNOSUPPORT,
    }
}
const UNIX: u32 = 1;
const IPV4: u32 = 2;
const IPV6: u32 = 10;
const NETLINK: u32 = 16;
const OF_NETLINK: Check = protocols(NETLINK, &[0, 4, 16]);
const OF_IPV4: Check = protocols(IPV4, INTERNET_PROTOCOLS);
const OF_IPV6: Check = protocols(IPV6, INTERNET_PROTOCOLS);
const INTERNET_PROTOCOLS: &[u32] = &[0, 1, 6, 17, 58];
const OF_UNIX: Check = protocols(UNIX, &[0, 1]);
/// `SOCK_STREAM`, the only type of a Unix socket that a program opens for the bus.
const UNIX_STREAM: Check = Check {
    arg: 1,
    mask: 0xf,
    want: Want::OneOfIf {
        arg: 0,
        is: UNIX,
        values: &[1],
    },
    errno: EAFNOSUPPORT,
};
const SET_ID: u32 = 0o6000;
/// `SOCK_STREAM`, `SOCK_DGRAM`, `SOCK_RAW` (on the internet only with `CAP_NET_RAW`); for Unix also `SOCK_SEQPACKET`.
const TYPES: &[u32] = &[1, 2, 3];
const UNIX_TYPES: &[u32] = &[1, 2, 3, 5];

/// Of two rules for one call, the last one counts.
#[rustfmt::skip]
pub(in crate::steps::seccomp) const INSTEAD: &[Instead] = &[
    Instead { applies_to: |class| class.locks, group: Group { why: "a job that writes files of the host has to lock and flush them as others do", layer: Some(Layer::SeccompLocks),
        rule: Rule::Allow, rows: &[
        ("flock", 73, 32), ("fsync", 74, 82), ("fdatasync", 75, 83), ("syncfs", 306, 267),
        ("sync_file_range", 277, 84), ("msync", 26, 227),
    ] } },
    Instead { applies_to: |class| class.locks && !class.changes_root, group: Group { why: "likewise, and read past the cache; leases, delegations, F_NOTIFY, write hints, pipe sizes and signals of files stay refused", layer: Some(Layer::SeccompLocks),
        rule: Rule::Checked(&[STALLS, not_set_later(ASYNC)]), rows: &[("fcntl", 72, -1), ("fcntl", -1, 25)] } },
    Instead { applies_to: |class| class.changes_root, group: Group { why: "locks of a view are its own; a read past the cache would write out files of the host beneath it", layer: Some(Layer::SeccompLocks),
        rule: Rule::Checked(&[STALLS, not_set_later(ASYNC | DIRECT_X86_64)]), rows: &[("fcntl", 72, -1)] } },
    Instead { applies_to: |class| class.changes_root, group: Group { why: "likewise, with the other architecture's flag", layer: Some(Layer::SeccompLocks),
        rule: Rule::Checked(&[STALLS, not_set_later(ASYNC | DIRECT_AARCH64)]), rows: &[("fcntl", -1, 25)] } },
    Instead { applies_to: |class| class.locks, group: Group { why: "likewise, and ask a file system for any change; typing into a terminal, modules, keys and questions for extents stay refused", layer: Some(Layer::SeccompRefused),
        rule: Rule::Checked(&[IOCTLS, SIGNALS_OF_FILES, EXTENTS]), rows: &[("ioctl", 16, 29)] } },
    Instead { applies_to: |class| class.ipc, group: Group { why: "System V objects of its own namespace belong only to the job and end with it", layer: Some(Layer::SeccompIpc),
        rule: Rule::Allow, rows: &[
        ("shmat", 30, 196), ("shmctl", 31, 195), ("semget", 64, 190),
        ("semop", 65, 193), ("semtimedop", 220, 192), ("semctl", 66, 191), ("msgget", 68, 186),
        ("msgsnd", 69, 189), ("msgrcv", 70, 188), ("msgctl", 71, 187),
    ] } },
    Instead { applies_to: |class| class.ipc, group: Group { why: "likewise; SHM_HUGETLB would use up the pool of the host's databases", layer: Some(Layer::SeccompIpc),
        rule: Rule::Checked(&[
            Check { arg: 2, mask: 0o4000, want: Want::OneOf(&[0]), errno: ENOMEM },
        ]), rows: &[("shmget", 29, 194)] } },
    Instead { applies_to: |class| class.internet && !class.unix, group: Group { why: "netlink queries and internet sockets", layer: Some(Layer::SeccompSockets),
        rule: Rule::Checked(&[
            Check { arg: 0, mask: !0, want: Want::OneOf(&[NETLINK, IPV4, IPV6]), errno: EAFNOSUPPORT },
            Check { arg: 1, mask: 0xf, want: Want::OneOf(TYPES), errno: EAFNOSUPPORT },
            OF_NETLINK, OF_IPV4, OF_IPV6,
        ]), rows: &[("socket", 41, 198)] } },
    Instead { applies_to: |class| class.internet && !class.unix, group: Group { why: "addresses of netlink and the internet by their sizes; of Unix names only abstract ones of 10, 14 and 26 bytes fit", layer: Some(Layer::SeccompSocketpair),
        rule: Rule::Checked(&[
            Check { arg: 2, mask: !0, want: Want::OneOf(&[NETLINK_ADDRESS, INTERNET_ADDRESSES[0], INTERNET_ADDRESSES[1]]), errno: EPERM },
        ]), rows: &[("bind", 49, 200), ("connect", 42, 203)] } },
    Instead { applies_to: |class| class.unix && !class.internet, group: Group { why: "netlink queries and Unix sockets", layer: Some(Layer::SeccompSockets),
        rule: Rule::Checked(&[
            Check { arg: 0, mask: !0, want: Want::OneOf(&[NETLINK, UNIX]), errno: EAFNOSUPPORT },
            Check { arg: 1, mask: 0xf, want: Want::OneOf(UNIX_TYPES), errno: EAFNOSUPPORT },
            OF_NETLINK, OF_UNIX,
        ]), rows: &[("socket", 41, 198)] } },
    Instead { applies_to: |class| class.unix && class.internet, group: Group { why: "netlink queries, internet and Unix sockets", layer: Some(Layer::SeccompSockets),
        rule: Rule::Checked(&[
            Check { arg: 0, mask: !0, want: Want::OneOf(&[NETLINK, IPV4, IPV6, UNIX]), errno: EAFNOSUPPORT },
            Check { arg: 1, mask: 0xf, want: Want::OneOf(UNIX_TYPES), errno: EAFNOSUPPORT },
            OF_NETLINK, OF_IPV4, OF_IPV6, OF_UNIX,
        ]), rows: &[("socket", 41, 198)] } },
    Instead { applies_to: |class| class.bus, group: Group { why: "netlink queries, and Unix sockets for the system bus", layer: Some(Layer::SeccompSockets),
        rule: Rule::Checked(&[
            Check { arg: 0, mask: !0, want: Want::OneOf(&[NETLINK, UNIX]), errno: EAFNOSUPPORT },
            UNIX_STREAM, OF_NETLINK, OF_UNIX,
        ]), rows: &[("socket", 41, 198)] } },
    Instead { applies_to: |class| class.bus, group: Group { why: "remit-bus answers what may mean the system bus; a Unix name of ten bytes has the size of a netlink address, which nobody needs to connect to", layer: Some(Layer::SeccompSocketpair),
        rule: Rule::Checked(&[
            Check { arg: 2, mask: !0, want: Want::OneOf(BUS_ADDRESSES), errno: EPERM },
        ]), rows: &[("connect", 42, 203)] } },
    Instead { applies_to: |class| class.bus, group: Group { why: "nobody connects to a job", layer: Some(Layer::SeccompSocketpair),
        rule: Rule::Answer(EPERM), rows: &[("listen", 50, 201)] } },
    Instead { applies_to: |class| class.bus, group: Group { why: "systemd's clients name their end of the bus, for debugging: say yes; no name is taken. sd-netlink passes the size of its union, and would wait for answers to a name that it has not", layer: Some(Layer::SeccompSocketpair),
        rule: Rule::Checked(&[
            Check { arg: 2, mask: !0, want: Want::NoneOf(&[16]), errno: EPERM },
            Check { arg: 2, mask: !0, want: Want::OneOf(&[NETLINK_ADDRESS]), errno: 0 },
        ]), rows: &[("bind", 49, 200)] } },
    Instead { applies_to: |class| class.unix, group: Group { why: "Unix sockets have names of any length", layer: Some(Layer::SeccompSocketpair),
        rule: Rule::Allow, rows: &[("bind", 49, 200), ("connect", 42, 203)] } },
    Instead { applies_to: |class| class.unix, group: Group { why: "a datagram pair reaches no more than the sockets it may make", layer: Some(Layer::SeccompSocketpair),
        rule: Rule::Checked(&[
            Check { arg: 0, mask: !0, want: Want::OneOf(&[1]), errno: EAFNOSUPPORT },
        ]), rows: &[("socketpair", 53, 199)] } },
    Instead { applies_to: |class| class.no_set_id, group: Group { why: "a set-id file that a job leaves on the host gives its rights to whoever executes it", layer: Some(Layer::SeccompRefused),
        rule: Rule::Checked(&[
            Check { arg: 1, mask: SET_ID, want: Want::OneOf(&[0]), errno: EPERM },
        ]), rows: &[("chmod", 90, -1), ("fchmod", 91, 52), ("creat", 85, -1), ("mknod", 133, -1)] } },
    Instead { applies_to: |class| class.no_set_id, group: Group { why: "likewise, with the mode as third argument", layer: Some(Layer::SeccompRefused),
        rule: Rule::Checked(&[
            Check { arg: 2, mask: SET_ID, want: Want::OneOf(&[0]), errno: EPERM },
        ]), rows: &[("fchmodat", 268, 53), ("fchmodat2", 452, 452), ("open", 2, -1), ("mknodat", 259, 33)] } },
    Instead { applies_to: |class| class.no_set_id, group: Group { why: "likewise, with the mode as fourth argument", layer: Some(Layer::SeccompRefused),
        rule: Rule::Checked(&[
            Check { arg: 3, mask: SET_ID, want: Want::OneOf(&[0]), errno: EPERM },
        ]), rows: &[("openat", 257, -1), ("openat", -1, 56)] } },
    Instead { applies_to: |class| class.no_set_id, group: Group { why: "likewise; its mode is in memory, where no filter sees it", layer: Some(Layer::SeccompRefused),
        rule: Rule::Answer(ENOSYS), rows: &[("openat2", 437, 437)] } },
    Instead { applies_to: |class| class.one_session, group: Group { why: "without a cpu controller the kernel shares processor time by sessions (autogroups): a job stays one; say yes, as programs that go to the background insist", layer: Some(Layer::SeccompRefused),
        rule: Rule::Answer(0), rows: &[("setsid", 112, 157)] } },
    Instead { applies_to: |class| class.internet, group: Group { why: "labels of flows are 4,096 for all networks; keys of TCP take one of 8 algorithms of the machine, and load its module by name; tunnels of UDP patch the kernel's code on all processors", layer: Some(Layer::SeccompRefused),
        rule: Rule::Checked(&[SOCKET_PROGRAMS, FLOW_LABELS, TCP_KEYS, udp_tunnels(SOL_UDP), udp_tunnels(SOL_UDPLITE), RECEIVES_IDS]), rows: &[("setsockopt", 54, 208)] } },
    Instead { applies_to: |class| class.unix, group: Group { why: "programs for filters of sockets stay refused; a job that makes Unix sockets may have abstract names", layer: Some(Layer::SeccompRefused),
        rule: Rule::Checked(&[SOCKET_PROGRAMS, FLOW_LABELS, TCP_KEYS, udp_tunnels(SOL_UDP), udp_tunnels(SOL_UDPLITE)]), rows: &[("setsockopt", 54, 208)] } },
    Instead { applies_to: |class| class.own_network, group: Group { why: "likewise, and abstract names are its network's; buffers of TCP count for all networks together (net.ipv4.tcp_mem): say yes, they stay as small as they are", layer: Some(Layer::SeccompRefused),
        rule: Rule::Checked(&[SOCKET_PROGRAMS, FLOW_LABELS, TCP_KEYS, udp_tunnels(SOL_UDP), udp_tunnels(SOL_UDPLITE), SOCKET_BUFFERS]), rows: &[("setsockopt", 54, 208)] } },
    Instead { applies_to: |class| class.inspects, group: Group { why: "by the descriptors and roots of others it comes to mounts and memory that can be written: open to read only", layer: Some(Layer::SeccompRefused),
        rule: Rule::Checked(&[READ_ONLY_OPEN, no_direct(1, DIRECT_X86_64)]), rows: &[("open", 2, -1)] } },
    Instead { applies_to: |class| class.inspects, group: Group { why: "likewise", layer: Some(Layer::SeccompRefused),
        rule: Rule::Checked(&[READ_ONLY_OPEN_AT, no_direct(2, DIRECT_X86_64)]), rows: &[("openat", 257, -1)] } },
    Instead { applies_to: |class| class.inspects, group: Group { why: "likewise", layer: Some(Layer::SeccompRefused),
        rule: Rule::Checked(&[READ_ONLY_OPEN_AT, no_direct(2, DIRECT_AARCH64)]), rows: &[("openat", -1, 56)] } },
    Instead { applies_to: |class| class.inspects, group: Group { why: "remit-look closes the content of files to itself; a listener's answer would be a descriptor", layer: Some(Layer::SeccompRefused),
        rule: Rule::Checked(&[
            Check { arg: 1, mask: 0x8, want: Want::NoneOfIfSet { pointer: 2, values: &[0x8] }, errno: EPERM },
        ]), rows: &[("seccomp", 317, 277)] } },
    Instead { applies_to: |class| class.changes_root, group: Group { why: "package managers change to another root; in a view every root is the job's own", layer: Some(Layer::SeccompRefused),
        rule: Rule::Allow, rows: &[("chroot", 161, 51)] } },
    Instead { applies_to: |class| class.shared_uid, group: Group { why: "a uid has 128 instances: the host's programs of that user would get none", layer: Some(Layer::SeccompRefused),
        rule: Rule::Answer(EMFILE), rows: &[("inotify_init", 253, -1), ("inotify_init1", 294, 26)] } },
];
