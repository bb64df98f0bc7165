//! Checks of arguments that several groups use, and the errnos of the table.

use crate::steps::seccomp::rule::{Check, Want};

pub(super) const EPERM: u16 = libc::EPERM as u16;
pub(super) const EINVAL: u16 = libc::EINVAL as u16;
pub(super) const EMFILE: u16 = libc::EMFILE as u16;
pub(super) const ENOMEM: u16 = libc::ENOMEM as u16;
pub(super) const ENOSYS: u16 = libc::ENOSYS as u16;
pub(super) const EOPNOTSUPP: u16 = libc::EOPNOTSUPP as u16;
pub(super) const EAFNOSUPPORT: u16 = libc::EAFNOSUPPORT as u16;

/// `CLONE_NEW*` and `CLONE_PARENT`: a sibling of the job would be a child of the warden.
pub(super) const CLONE_REFUSED: u32 = 0x7e02_0000 | libc::CLONE_PARENT as u32;
/// `sizeof(struct sockaddr_nl)`: no other address may be bound or connected to.
pub(super) const NETLINK_ADDRESS: u32 = 12;

#[rustfmt::skip]
pub(super) const IOCTLS: Check = Check { arg: 1, mask: !0, errno: EPERM, want: Want::NoneOf(&[
    // TIOCSTI, TIOCLINUX.
    0x5412, 0x541c,
    // SIOC[GS]IFBR, SIOCBR{ADDBR,DELBR}, SIOC[GS]IFVLAN: the kernel loads a module, then checks the capability.
    0x8940, 0x8941, 0x89a0, 0x89a1, 0x8982, 0x8983,
    // FS_IOC_{ADD,REMOVE}_ENCRYPTION_KEY, _ALL_USERS.
    0xc050_6617, 0xc040_6618, 0xc040_6619,
    // BTRFS_IOC_SYNC, BTRFS_IOC_START_SYNC.
    0x9408, 0x8008_9418,
    // TUNATTACHFILTER: a program in the kernel's memory for programs.
    0x4010_54d5,
]) };

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

/// `O_DIRECT`, which differs by architecture.
pub(super) const DIRECT_X86_64: u32 = 0o40_000;
pub(super) const DIRECT_AARCH64: u32 = 0o200_000;
/// The flag among those of a call, and among those that fcntl(F_SETFL) sets.
pub(super) const fn no_direct(arg: u8, flag: u32) -> Check {
    Check {
        arg,
        mask: flag,
        want: Want::OneOf(&[0]),
        errno: EINVAL,
    }
}
pub(super) const fn no_direct_later(flag: u32) -> Check {
    const F_SETFL: u32 = 4;
    Check {
        arg: 2,
        mask: flag,
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
/// Leases, F_NOTIFY, F_SETPIPE_SZ and write hints.
pub(super) const STALLS: Check = Check {
    arg: 1,
    mask: !0,
    want: Want::NoneOf(&[1024, 1026, 1031, 1036, 1038]),
    errno: EPERM,
};
