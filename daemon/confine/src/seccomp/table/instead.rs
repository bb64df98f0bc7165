//! What some kinds of profile have in place of the table's rules.

use super::{
    EAFNOSUPPORT, EMFILE, ENOMEM, ENOSYS, EPERM, NETLINK_ADDRESS, SOCKET_PROGRAMS, SOL_SOCKET,
    STALLS,
};
use crate::Wall;
use crate::seccomp::{Check, Group, Instead, Rule, Want};

/// SO_SNDBUF and SO_RCVBUF.
const SOCKET_BUFFERS: Check = Check {
    arg: 2,
    mask: !0,
    want: Want::NoneOfIf {
        arg: 1,
        is: SOL_SOCKET,
        values: &[7, 8],
    },
    errno: 0,
};
/// `sizeof(struct sockaddr_in)`, `sizeof(struct sockaddr_in6)`.
const INTERNET_ADDRESSES: [u32; 2] = [16, 28];
/// Protocols, each family its own, since one number means another thing in each. Of netlink: ROUTE,
/// SOCK_DIAG, GENERIC. Of the internet: any, ICMP, TCP, UDP and ICMPv6; others (SCTP, DCCP, MPTCP) would
/// load modules or pass by walls that know TCP alone.
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
/// `S_ISUID` and `S_ISGID`.
const SET_ID: u32 = 0o6000;
/// `SOCK_STREAM`, `SOCK_DGRAM`, `SOCK_RAW`, which netlink has and the internet only with
/// `CAP_NET_RAW`; and for Unix sockets `SOCK_SEQPACKET`.
const TYPES: &[u32] = &[1, 2, 3];
const UNIX_TYPES: &[u32] = &[1, 2, 3, 5];

/// What some kinds of profile have in place of rules above; of two for one call the last.
#[rustfmt::skip]
pub(in crate::seccomp) const INSTEAD: &[Instead] = &[
    Instead { of: |class| class.locks, group: Group { why: "a job that writes files of the host has to lock and flush them as others do", wall: Some(Wall::SeccompLocks),
        rule: Rule::Allow, rows: &[
        ("flock", 73, 32), ("fsync", 74, 82), ("fdatasync", 75, 83), ("syncfs", 306, 267),
        ("sync_file_range", 277, 84), ("msync", 26, 227),
    ] } },
    Instead { of: |class| class.locks, group: Group { why: "likewise, and read past the cache; leases, F_NOTIFY, write hints and pipe sizes stay refused", wall: Some(Wall::SeccompLocks),
        rule: Rule::Checked(&[STALLS]), rows: &[("fcntl", 72, -1), ("fcntl", -1, 25)] } },
    Instead { of: |class| class.ipc, group: Group { why: "System V objects of an own namespace are the job's alone and end with it", wall: Some(Wall::SeccompIpc),
        rule: Rule::Allow, rows: &[
        ("shmat", 30, 196), ("shmctl", 31, 195), ("semget", 64, 190),
        ("semop", 65, 193), ("semtimedop", 220, 192), ("semctl", 66, 191), ("msgget", 68, 186),
        ("msgsnd", 69, 189), ("msgrcv", 70, 188), ("msgctl", 71, 187),
    ] } },
    Instead { of: |class| class.ipc, group: Group { why: "likewise; SHM_HUGETLB would use up the pool of the host's databases", wall: Some(Wall::SeccompIpc),
        rule: Rule::Checked(&[
            Check { arg: 2, mask: 0o4000, want: Want::OneOf(&[0]), errno: ENOMEM },
        ]), rows: &[("shmget", 29, 194)] } },
    Instead { of: |class| class.internet && !class.unix, group: Group { why: "netlink queries and internet sockets", wall: Some(Wall::SeccompSockets),
        rule: Rule::Checked(&[
            Check { arg: 0, mask: !0, want: Want::OneOf(&[NETLINK, IPV4, IPV6]), errno: EAFNOSUPPORT },
            Check { arg: 1, mask: 0xf, want: Want::OneOf(TYPES), errno: EAFNOSUPPORT },
            OF_NETLINK, OF_IPV4, OF_IPV6,
        ]), rows: &[("socket", 41, 198)] } },
    Instead { of: |class| class.internet && !class.unix, group: Group { why: "addresses of netlink and the internet by their sizes: no path, no other Unix name fits by chance", wall: Some(Wall::SeccompSocketpair),
        rule: Rule::Checked(&[
            Check { arg: 2, mask: !0, want: Want::OneOf(&[NETLINK_ADDRESS, INTERNET_ADDRESSES[0], INTERNET_ADDRESSES[1]]), errno: EPERM },
        ]), rows: &[("bind", 49, 200), ("connect", 42, 203)] } },
    Instead { of: |class| class.unix && !class.internet, group: Group { why: "netlink queries and Unix sockets", wall: Some(Wall::SeccompSockets),
        rule: Rule::Checked(&[
            Check { arg: 0, mask: !0, want: Want::OneOf(&[NETLINK, UNIX]), errno: EAFNOSUPPORT },
            Check { arg: 1, mask: 0xf, want: Want::OneOf(UNIX_TYPES), errno: EAFNOSUPPORT },
            OF_NETLINK, OF_UNIX,
        ]), rows: &[("socket", 41, 198)] } },
    Instead { of: |class| class.unix && class.internet, group: Group { why: "netlink queries, internet and Unix sockets", wall: Some(Wall::SeccompSockets),
        rule: Rule::Checked(&[
            Check { arg: 0, mask: !0, want: Want::OneOf(&[NETLINK, IPV4, IPV6, UNIX]), errno: EAFNOSUPPORT },
            Check { arg: 1, mask: 0xf, want: Want::OneOf(UNIX_TYPES), errno: EAFNOSUPPORT },
            OF_NETLINK, OF_IPV4, OF_IPV6, OF_UNIX,
        ]), rows: &[("socket", 41, 198)] } },
    Instead { of: |class| class.unix, group: Group { why: "Unix sockets have names of any length", wall: Some(Wall::SeccompSocketpair),
        rule: Rule::Allow, rows: &[("bind", 49, 200), ("connect", 42, 203)] } },
    Instead { of: |class| class.unix, group: Group { why: "a datagram pair reaches no more than the sockets it may make", wall: Some(Wall::SeccompSocketpair),
        rule: Rule::Checked(&[
            Check { arg: 0, mask: !0, want: Want::OneOf(&[1]), errno: EAFNOSUPPORT },
        ]), rows: &[("socketpair", 53, 199)] } },
    Instead { of: |class| class.no_set_id, group: Group { why: "a set-id file that a job leaves on the host gives its rights to whoever executes it", wall: Some(Wall::SeccompRefused),
        rule: Rule::Checked(&[
            Check { arg: 1, mask: SET_ID, want: Want::OneOf(&[0]), errno: EPERM },
        ]), rows: &[("chmod", 90, -1), ("fchmod", 91, 52), ("creat", 85, -1), ("mknod", 133, -1)] } },
    Instead { of: |class| class.no_set_id, group: Group { why: "likewise, with the mode as third argument", wall: Some(Wall::SeccompRefused),
        rule: Rule::Checked(&[
            Check { arg: 2, mask: SET_ID, want: Want::OneOf(&[0]), errno: EPERM },
        ]), rows: &[("fchmodat", 268, 53), ("fchmodat2", 452, 452), ("open", 2, -1), ("mknodat", 259, 33)] } },
    Instead { of: |class| class.no_set_id, group: Group { why: "likewise, with the mode as fourth argument", wall: Some(Wall::SeccompRefused),
        rule: Rule::Checked(&[
            Check { arg: 3, mask: SET_ID, want: Want::OneOf(&[0]), errno: EPERM },
        ]), rows: &[("openat", 257, -1), ("openat", -1, 56)] } },
    Instead { of: |class| class.no_set_id, group: Group { why: "likewise; its mode is in memory, where no filter sees it", wall: Some(Wall::SeccompRefused),
        rule: Rule::Answer(ENOSYS), rows: &[("openat2", 437, 437)] } },
    Instead { of: |class| class.one_session, group: Group { why: "without a cpu controller the kernel shares processor time by sessions (autogroups): a job stays one; say yes, as programs that go to the background insist", wall: Some(Wall::SeccompRefused),
        rule: Rule::Answer(0), rows: &[("setsid", 112, 157)] } },
    Instead { of: |class| class.own_network, group: Group { why: "likewise; buffers of TCP count for all networks together (net.ipv4.tcp_mem): say yes, they stay as small as they are", wall: Some(Wall::SeccompRefused),
        rule: Rule::Checked(&[SOCKET_PROGRAMS, SOCKET_BUFFERS]), rows: &[("setsockopt", 54, 208)] } },
    Instead { of: |class| class.shared_uid, group: Group { why: "a uid has 128 instances: the host's programs of that user would have none", wall: Some(Wall::SeccompRefused),
        rule: Rule::Answer(EMFILE), rows: &[("inotify_init", 253, -1), ("inotify_init1", 294, 26)] } },
];
