//! Requests of ioctl(2) that a file system answers: a list of those known to be harmless. A read-only mount does not
//! stop a request that changes nothing and still makes the kernel write files out, wait or allocate; and each file
//! system and each kernel has more of them. So an unlisted number answers as a file system without such a request
//! does.

use super::checks::EOPNOTSUPP;
use crate::steps::seccomp::rule::{Check, Want};

/// Types (`_IOC_TYPE`): ext4 and all (`f`), XFS and all (`X`), all (`v`), btrfs and all, NILFS2 (`n`), F2FS, Ceph.
const KIND: u32 = 0xff00;
const KINDS: &[u32] = &[0x6600, 0x5800, 0x7600, 0x9400, 0x6e00, 0xf500, 0x9700];

/// Queries, and changes for which the kernel first asks the mount if it can be written.
#[rustfmt::skip]
const KNOWN: &[u32] = &[
    // FS_IOC_[GS]ETFLAGS, FS_IOC_[GS]ETVERSION, EXT4_IOC_GETVERSION, FS_IOC_FS[GS]ETXATTR, XFS_IOC_FSGETXATTRA,
    // FS_IOC_GETFSLABEL.
    0x8008_6601, 0x4008_6602, 0x8008_7601, 0x4008_7602, 0x8008_6603, 0x801c_581f, 0x401c_5820, 0x801c_582d,
    0x8100_9431,
    // FICLONE, FICLONERANGE, FIDEDUPERANGE.
    0x4004_9409, 0x4020_940d, 0xc018_9436,
    // FS_IOC_GET_ENCRYPTION_POLICY, _POLICY_EX, _KEY_STATUS, _NONCE; FS_IOC_MEASURE_VERITY, _READ_VERITY_METADATA.
    0x400c_6615, 0xc009_6616, 0xc080_661a, 0x8010_661b, 0xc004_6686, 0xc028_6687,
    // PROCMAP_QUERY, of the file system of processes.
    0xc068_6611,
    // FS_IOC_GETFSMAP; XFS_IOC_DIOINFO, _FSGEOMETRY_V1, _FSGEOMETRY_V4, _FSGEOMETRY, _FSCOUNTS.
    0xc0c0_583b, 0x800c_581e, 0x8070_5864, 0x8070_587c, 0x8100_587e, 0x8020_5871,
    // BTRFS_IOC_TREE_SEARCH and _V2, for which the kernel asks for a capability; _INO_LOOKUP, _INO_LOOKUP_USER,
    // _SPACE_INFO, _SUBVOL_GETFLAGS, _FS_INFO, _DEV_INFO, _GET_DEV_STATS, _GET_FEATURES, _GET_SUPPORTED_FEATURES,
    // _GET_SUBVOL_INFO, _GET_SUBVOL_ROOTREF.
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

/// Queries for a file's extents, which can write it out first: the flag for that is in memory, where no filter sees
/// it. `FS_IOC_FIEMAP`, `EXT4_IOC_GET_ES_CACHE`, `XFS_IOC_GETBMAP`, `_GETBMAPA`, `_GETBMAPX`. A job with `write` is
/// refused only these, because the file may be one that it can only read.
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
