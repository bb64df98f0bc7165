//! Which of the machine's mounts a view shows, and how. Pure.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;

use remit_core::view::PRIVATE;

use remit_core::mount_table::{MountLine, is_in, mounts};

/// File systems on which an overlay works, and whose owners a mount can map: the kernel's `FS_ALLOW_IDMAP`.
const COPIED: [&[u8]; 7] = [
    b"ext2", b"ext3", b"ext4", b"xfs", b"btrfs", b"f2fs", b"tmpfs",
];
/// File systems of local disks and images. Those of networks and of users' programs (FUSE) can hang, and are left out.
const READ_ONLY: [&[u8]; 8] = [
    b"vfat",
    b"exfat",
    b"ntfs3",
    b"iso9660",
    b"udf",
    b"squashfs",
    b"erofs",
    b"overlay",
];
/// The most mounts of a table, and of a view.
const MOST: usize = 8192;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// By an overlay: what is written goes to the view's own memory.
    Copy,
    /// By an overlay to which nothing can be written.
    ReadOnly,
    /// A network's, or of a program of a user: it could hang. What lies beneath it on the machine is hidden.
    Not,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Point {
    /// Relative to the root; empty for the root itself.
    pub(crate) at: CString,
    pub(crate) shown: Shown,
}

/// Reads a mount table: proc_pid_mountinfo(5). Returns parents before children, without those beneath one that is not shown.
/// Of several mounts at one point the last one counts. Fails for a table that cannot be read, and for more than [`MOST`] mounts.
pub(crate) fn points(mountinfo: &[u8]) -> io::Result<Vec<Point>> {
    let mut found: BTreeMap<Vec<u8>, Shown> = BTreeMap::new();
    for mount in mounts(mountinfo) {
        let mount = mount.ok_or(io::ErrorKind::InvalidData)?;
        found.insert(mount.relative().to_vec(), shown(&mount));
    }
    let is_private = |at: &[u8]| PRIVATE.iter().any(|own| is_in(at, own.as_bytes()));
    found.retain(|at, _| !is_private(at));
    let outer: Vec<Vec<u8>> = found
        .iter()
        .filter(|(_, shown)| **shown == Shown::Not)
        .map(|(at, _)| at.clone())
        .collect();
    found.retain(|at, _| !outer.iter().any(|out| at != out && is_in(at, out)));
    if found.len() > MOST {
        return Err(io::Error::from_raw_os_error(libc::E2BIG));
    }
    let point = |(at, shown): (Vec<u8>, Shown)| {
        let at = CString::new(at).map_err(|_| io::ErrorKind::InvalidData)?;
        Ok(Point { at, shown })
    };
    found.into_iter().map(point).collect()
}

/// Returns why copies cannot have the root file system of a mount table.
pub(super) fn uncopied_root(mountinfo: &[u8]) -> Option<String> {
    let mut from_last = mounts(mountinfo).rev().flatten();
    let root = from_last.find(|mount| mount.relative().is_empty())?;
    match shown(&root) {
        Shown::Copy => None,
        _ if COPIED.contains(&root.kind) => Some(
            "its root file system is mounted read-only, and copies need one that can be written; remount it, then: remit policy reload"
                .to_owned(),
        ),
        _ => Some(format!(
            "its root file system is of type '{}'; copies need ext4, XFS, btrfs or F2FS",
            String::from_utf8_lossy(root.kind)
        )),
    }
}

fn shown(mount: &MountLine<'_>) -> Shown {
    let is_fixed = mount
        .options
        .map(|options| options.split(|byte| *byte == b',').any(|one| one == b"ro"));
    match mount.kind {
        kind if COPIED.contains(&kind) && is_fixed == [false; 2] => Shown::Copy,
        kind if COPIED.contains(&kind) || READ_ONLY.contains(&kind) => Shown::ReadOnly,
        _ => Shown::Not,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown_points(table: &str) -> Vec<(String, Shown)> {
        let points = points(table.as_bytes()).unwrap();
        let text = |point: Point| (point.at.into_string().unwrap(), point.shown);
        points.into_iter().map(text).collect()
    }

    #[test]
    fn each_kind_of_mount_is_copied_shown_or_left_out() {
        let table = "\
21 1 253:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
22 21 0:20 / /proc rw,nosuid - proc proc rw
23 21 0:5 / /dev rw - devtmpfs udev rw
24 23 0:22 / /dev/shm rw - tmpfs tmpfs rw
25 21 0:23 / /run rw - tmpfs tmpfs rw
26 25 0:24 / /run/user/0 rw - tmpfs tmpfs rw
27 21 253:1 / /srv/with\\040space rw shared:5 master:3 - xfs /dev/vdb rw
28 21 253:2 / /boot/efi rw - vfat /dev/vda1 rw
29 21 0:40 / /mnt/nfs rw - nfs4 server:/ rw
30 29 253:3 / /mnt/nfs/disk rw - ext4 /dev/vdc rw
31 21 253:4 / /snap/core/1 ro - squashfs /dev/loop0 ro
32 21 253:5 / /opt ro - ext4 /dev/vdd rw
33 21 253:6 / /data rw - ext4 /dev/vde ro
34 21 253:7 / /twice rw - ext4 /dev/vdf rw
35 34 0:50 / /twice rw - fuse.sshfs x rw
36 21 0:51 / /tmp rw - tmpfs tmpfs rw
37 21 0:52 / /tmpfiles rw - tmpfs tmpfs rw
38 21 0:53 / /var/tmp rw - tmpfs tmpfs rw
";
        let copied = |at: &str| (at.to_owned(), Shown::Copy);
        let fixed = |at: &str| (at.to_owned(), Shown::ReadOnly);
        assert_eq!(
            shown_points(table),
            [
                copied(""),
                fixed("boot/efi"),
                fixed("data"),
                ("mnt/nfs".to_owned(), Shown::Not),
                fixed("opt"),
                fixed("snap/core/1"),
                copied("srv/with space"),
                copied("tmpfiles"),
                ("twice".to_owned(), Shown::Not),
            ]
        );
    }

    #[test]
    fn root_that_copies_cannot_have_is_named() {
        for (table, why) in [
            ("21 1 253:0 / / rw - ext4 /dev/vda rw", None),
            (
                "1 1 0:2 / / rw - rootfs rootfs rw\n21 1 253:0 / / rw - xfs /dev/vda rw",
                None,
            ),
            ("21 1 253:0 / / ro - ext4 /dev/vda rw", Some("read-only")),
            ("21 1 253:0 / / rw - btrfs /dev/vda ro", Some("read-only")),
            ("21 1 0:30 / / rw - zfs rpool/ROOT rw", Some("type 'zfs'")),
            (
                "21 1 0:31 / / ro - squashfs /dev/loop0 ro",
                Some("type 'squashfs'"),
            ),
            (
                "22 21 0:20 / /srv ro - ext4 /dev/vdb ro\n21 1 253:0 / / rw - ext4 /dev/vda rw",
                None,
            ),
        ] {
            let found = uncopied_root(table.as_bytes());
            assert_eq!(found.is_some(), why.is_some(), "{table}: {found:?}");
            assert!(
                found.unwrap_or_default().contains(why.unwrap_or_default()),
                "{table}"
            );
        }
    }

    #[test]
    fn damaged_table_is_refused() {
        for table in [
            "21 1 253:0 /",
            "21 1 253:0 / relative rw - ext4 /dev/vda rw",
            "21 1 253:0 / /a\\04 rw - ext4 /dev/vda rw",
            "21 1 253:0 / /a\\999 rw - ext4 /dev/vda rw",
            "21 1 253:0 / /a\\000b rw - ext4 /dev/vda rw",
            "21 1 253:0 / /a rw ext4 /dev/vda rw",
            "21 1 253:0 / /a rw - ext4",
        ] {
            assert!(points(table.as_bytes()).is_err(), "{table}");
        }
        let many = |count: usize| -> String {
            let line = |n: usize| format!("21 1 253:0 / /m{n} rw - ext4 /dev/vda rw\n");
            (0..count).map(line).collect()
        };
        assert_eq!(points(many(MOST).as_bytes()).unwrap().len(), MOST);
        assert!(points(many(MOST + 1).as_bytes()).is_err());
    }
}
