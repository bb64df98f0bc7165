//! Checks of arguments that several groups use, and the errnos of the table.

use crate::steps::seccomp::rule::{Check, Want};

pub(super) const EPERM: u16 = libc::EPERM as u16;
pub(super) const EINVAL: u16 = libc::EINVAL as u16;
pub(super) const EMFILE: u16 = libc::EMFILE as u16;
pub(super) const ENOMEM: u16 = libc::ENOMEM as u16;
pub(super) const E2BIG: u16 = libc::E2BIG as u16;
pub(super) const ENOSYS: u16 = libc::ENOSYS as u16;
pub(super) const EOPNOTSUPP: u16 = libc::EOPNOTSUPP as u16;
pub(super) const EAFNOSUPPORT: u16 = libc::EAFNOSUPPORT as u16;
pub(super) const ENOPROTOOPT: u16 = libc::ENOPROTOOPT as u16;

/// `CLONE_NEW*` and `CLONE_PARENT`: a sibling of the job would be a child of the warden.
pub(super) const CLONE_REFUSED: u32 = 0x7e02_0000 | libc::CLONE_PARENT as u32;
/// `sizeof(struct sockaddr_nl)`: no other address may be bound or connected to.
pub(super) const NETLINK_ADDRESS: u32 = 12;

/// Sizes of the addresses `/run/dbus/system_bus_socket` and `/var/run/…`, and of those that nss-systemd(8) asks for a
/// name of the job's uid, without and with the final NUL. Others of that size are not reached either.
pub(in crate::steps::seccomp) const BUS_ADDRESSES: &[u32] = &[29, 30, 33, 34, 44, 45];

#[rustfmt::skip]
pub(super) const IOCTLS: Check = Check { arg: 1, mask: !0, errno: EPERM, want: Want::NoneOf(&[
    0x5412, 0x541c, // TIOCSTI, TIOCLINUX.
    0x5423, // TIOCSETD: any user may, and the kernel loads the module of the line discipline.
    // SIOC[GS]IFBR, SIOCBR{ADDBR,DELBR}, SIOC[GS]IFVLAN: the kernel loads a module, then checks the capability.
    0x8940, 0x8941, 0x89a0, 0x89a1, 0x8982, 0x8983,
    0xc050_6617, 0xc040_6618, 0xc040_6619, // FS_IOC_{ADD,REMOVE}_ENCRYPTION_KEY, _ALL_USERS.
    0x9408, 0x8008_9418, // BTRFS_IOC_SYNC, BTRFS_IOC_START_SYNC.
    // BTRFS_IOC_SNAP_{CREATE,DESTROY}, _V2: before December 2023 a snapshot had all of a subvolume, for a descriptor of any
    // directory in it: also what is hidden from the job.
    0x5000_9401, 0x5000_9417, 0x5000_940f, 0x5000_943f,
    0x4010_54d5, // TUNATTACHFILTER: a program in the kernel's memory for programs.
]) };

/// Ids of clocks with a pid (`MAKE_PROCESS_CPUCLOCK`), but that of pid 0, which libc uses for CLOCK_PROCESS_CPUTIME_ID.
/// With the bit of 4 it is a clock of a thread: the kernel refuses those of other processes.
pub(super) const CLOCKS: Check = Check {
    arg: 0,
    mask: !0,
    want: Want::OneOfKind {
        mask: 0x8000_0004,
        kinds: &[0x8000_0000],
        values: &[0xffff_fffa],
    },
    errno: EINVAL,
};

/// FIOASYNC sets O_ASYNC. Servers end without it (nginx for each worker), and none of them needs the signals.
pub(super) const SIGNALS_OF_FILES: Check = Check {
    arg: 1,
    mask: !0,
    want: Want::NoneOf(&[0x5452]),
    errno: 0,
};

/// `SOL_SOCKET`, and its options that put a program into the kernel's memory: SO_ATTACH_FILTER,
/// SO_ATTACH_BPF, SO_ATTACH_REUSEPORT_CBPF, SO_ATTACH_REUSEPORT_EBPF.
pub(super) const SOL_SOCKET: u32 = 1;
pub(super) const SOCKET_PROGRAMS: Check = Check {
    arg: 2,
    mask: !0,
    want: Want::NoneOfIf {
        arg: 1,
        is: SOL_SOCKET,
        values: &[26, 50, 51, 52],
    },
    errno: EPERM,
};

/// IPV6_FLOWLABEL_MGR of SOL_IPV6.
pub(super) const FLOW_LABELS: Check = Check {
    arg: 2,
    mask: !0,
    want: Want::NoneOfIf {
        arg: 1,
        is: 41,
        values: &[32],
    },
    errno: ENOPROTOOPT,
};

/// TCP_MD5SIG, TCP_MD5SIG_EXT, TCP_AO_{ADD_KEY,DEL_KEY,INFO,GET_KEYS} of SOL_TCP.
pub(super) const TCP_KEYS: Check = Check {
    arg: 2,
    mask: !0,
    want: Want::NoneOfIf {
        arg: 1,
        is: 6,
        values: &[14, 32, 38, 39, 40, 41],
    },
    errno: ENOPROTOOPT,
};

pub(super) const SOL_UDP: u32 = 17;
/// A UDP socket takes options of this level as those of its own.
pub(super) const SOL_UDPLITE: u32 = 136;
/// UDP_ENCAP and UDP_GRO: the first socket with one, and its close, have the kernel patch its code.
pub(super) const fn udp_tunnels(level: u32) -> Check {
    Check {
        arg: 2,
        mask: !0,
        want: Want::NoneOfIf {
            arg: 1,
            is: level,
            values: &[100, 104],
        },
        errno: ENOPROTOOPT,
    }
}

/// SO_PASSCRED and SO_PASSPIDFD. unix(7), "Autobind feature".
pub(super) const RECEIVES_IDS: Check = Check {
    arg: 2,
    mask: !0,
    want: Want::NoneOfIf {
        arg: 1,
        is: SOL_SOCKET,
        values: &[16, 76],
    },
    errno: 0,
};

pub(super) const ASYNC: u32 = 0o20_000;
pub(super) const DIRECT_X86_64: u32 = 0o40_000;
pub(super) const DIRECT_AARCH64: u32 = 0o200_000;
/// Refuses the flag among those of a call, and flags among those that fcntl(F_SETFL) sets.
pub(super) const fn no_direct(arg: u8, flag: u32) -> Check {
    Check {
        arg,
        mask: flag,
        want: Want::OneOf(&[0]),
        errno: EINVAL,
    }
}
pub(super) const fn not_set_later(flags: u32) -> Check {
    const F_SETFL: u32 = 4;
    Check {
        arg: 2,
        mask: flags,
        want: Want::OneOfIf {
            arg: 1,
            is: F_SETFL,
            values: &[0],
        },
        errno: EINVAL,
    }
}
pub(super) const LOCKS: Check = Check {
    arg: 1,
    mask: !0,
    want: Want::NoneOf(&[6, 7, 37, 38]),
    errno: 0,
};
/// Commands that only Linux has (`F_LINUX_SPECIFIC_BASE`): those known to be harmless. Not among them are leases and
/// delegations, F_NOTIFY, F_CANCELLK, F_SETPIPE_SZ, write hints, and what later kernels bring.
pub(super) const STALLS: Check = Check {
    arg: 1,
    mask: !0,
    want: Want::OneOfKind {
        mask: !0x3ff,
        kinds: &[1024],
        // F_GETLEASE, F_DUPFD_{QUERY,CLOEXEC}, F_CREATED_QUERY, F_GETPIPE_SZ, F_{ADD,GET}_SEALS, F_GET_{RW,FILE_RW}_HINT,
        // F_GETDELEG.
        values: &[1025, 1027, 1028, 1030, 1032, 1033, 1034, 1035, 1037, 1039],
    },
    errno: EPERM,
};

// Requests of ioctl(2) that a file system answers: a list of those known to be harmless. A read-only mount does not
// stop a request that changes nothing and still makes the kernel write files out, wait or allocate; and each file
// system and each kernel has more of them. So an unlisted number answers as a file system without such a request does.

/// Types (`_IOC_TYPE`): ext4 and all (`f`), XFS and all (`X`), all (`v`), btrfs and all, NILFS2 (`n`), F2FS, Ceph.
const KIND: u32 = 0xff00;
const KINDS: &[u32] = &[0x6600, 0x5800, 0x7600, 0x9400, 0x6e00, 0xf500, 0x9700];

/// Queries, and changes for which the kernel first asks the mount if it can be written.
#[rustfmt::skip]
const KNOWN: &[u32] = &[
    // FS_IOC_[GS]ET{FLAGS,VERSION}, EXT4_IOC_GETVERSION, FS_IOC_FS[GS]ETXATTR, XFS_IOC_FSGETXATTRA, FS_IOC_GETFSLABEL.
    0x8008_6601, 0x4008_6602, 0x8008_7601, 0x4008_7602, 0x8008_6603, 0x801c_581f, 0x401c_5820, 0x801c_582d,
    0x8100_9431,
    0x4004_9409, 0x4020_940d, 0xc018_9436, // FICLONE, FICLONERANGE, FIDEDUPERANGE.
    // FS_IOC_GET_ENCRYPTION_POLICY, _POLICY_EX, _KEY_STATUS, _NONCE; FS_IOC_MEASURE_VERITY, _READ_VERITY_METADATA.
    0x400c_6615, 0xc009_6616, 0xc080_661a, 0x8010_661b, 0xc004_6686, 0xc028_6687,
    0xc068_6611, // PROCMAP_QUERY, of the file system of processes.
    // FS_IOC_GETFSMAP; XFS_IOC_DIOINFO, _FSGEOMETRY_V1, _FSGEOMETRY_V4, _FSGEOMETRY, _FSCOUNTS.
    0xc0c0_583b, 0x800c_581e, 0x8070_5864, 0x8070_587c, 0x8100_587e, 0x8020_5871,
    // BTRFS_IOC_TREE_SEARCH and _V2, which need a capability; _INO_LOOKUP, _INO_LOOKUP_USER, _SPACE_INFO, _SUBVOL_GETFLAGS,
    // _FS_INFO, _DEV_INFO, _GET_DEV_STATS, _GET_FEATURES, _GET_SUPPORTED_FEATURES, _GET_SUBVOL_INFO, _GET_SUBVOL_ROOTREF.
    0xd000_9411, 0xc070_9411, 0xd000_9412, 0xd000_943e, 0xc010_9414, 0x8008_9419, 0x8400_941f, 0xd000_941e,
    0xc408_9434, 0x8018_9439, 0x8048_9439, 0x81f8_943c, 0xd000_943d,
];

pub(super) const OF_FILE_SYSTEMS: Check = Check {
    arg: 1,
    mask: !0,
    want: Want::OneOfKind {
        mask: KIND,
        kinds: KINDS,
        values: KNOWN,
    },
    errno: EOPNOTSUPP,
};

/// Queries for extents, which can write the file out: that flag is in memory, where no filter sees it. `FS_IOC_FIEMAP`,
/// `EXT4_IOC_GET_ES_CACHE`, `XFS_IOC_GETBMAP{,A,X}`. A job with `write` is refused only these, for files that it can only read.
pub(super) const EXTENTS: Check = Check {
    arg: 1,
    mask: !0,
    want: Want::NoneOf(&[
        0xc020_660b,
        0xc020_662a,
        0xc020_5826,
        0xc020_582c,
        0xc030_5838,
    ]),
    errno: EOPNOTSUPP,
};
