//! Mounts whose server or program may never answer: looking there could take forever, and what it says is its own.

use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use remit_common::mount_table::mounts;

use crate::path::FilePath;

const REMOTE: [&[u8]; 9] = [
    b"nfs", b"cifs", b"smb", b"fuse", b"9p", b"ceph", b"gluster", b"afs", b"autofs",
];

/// A mount that is not looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    pub path: FilePath,
    pub kind: String,
}

/// Returns such mounts beneath a directory, by their paths from there. Empty if the kernel does not show them.
pub fn closed(root: &OwnedFd) -> Vec<Closed> {
    let link = format!("/proc/self/fd/{}", root.as_raw_fd());
    let directory = fs::read_link(link).map(|path| OsString::from(path).into_vec());
    let directory = directory.ok().and_then(FilePath::new);
    // Of this thread: another one may have another mount namespace.
    let table = fs::read("/proc/thread-self/mountinfo").unwrap_or_default();
    directory.map_or_else(Vec::new, |directory| parse(&table, &directory))
}

fn parse(table: &[u8], directory: &FilePath) -> Vec<Closed> {
    let rows = mounts(table).flatten().filter_map(|mount| {
        let (path, kind) = (FilePath::new(&mount.point)?, mount.kind);
        let is_remote = REMOTE.iter().any(|prefix| kind.starts_with(prefix));
        // A disk's file system by a program: as slow as the disk, and only root mounts it. The other is of the kernel.
        let is_quick = matches!(kind, b"fuseblk" | b"fusectl");
        (is_remote && !is_quick && path.is_beneath(directory)).then_some((path, kind))
    });
    let rows = rows.filter_map(|(path, kind)| {
        let rest = match directory.as_bytes() {
            b"/" => path.as_bytes(),
            above => path.as_bytes().strip_prefix(above)?,
        };
        Some(Closed {
            path: FilePath::new(rest)?,
            kind: kind.escape_ascii().to_string(),
        })
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_beneath_a_directory_are_found() {
        let table = b"36 35 98:0 / / rw - ext4 /dev/sda1 rw\n\
            37 36 0:1 / /srv/a\\040b rw,nosuid shared:1 - fuse.sshfs x rw\n\
            38 36 0:2 / /machine/home rw - nfs4 server:/ rw\n\
            39 36 0:3 / /mnt rw - fuseblk /dev/sdb rw\n40 36 0:4 / /sys/fs/fuse rw - fusectl x rw\nbroken - \n";
        let found = |directory: &str| {
            let found = parse(table, &FilePath::fixed(directory)).into_iter();
            let found = found.map(|one| format!("{} {}", one.path, one.kind));
            found.collect::<Vec<_>>()
        };
        assert_eq!(found("/"), ["/srv/a b fuse.sshfs", "/machine/home nfs4"]);
        assert_eq!(found("/machine"), ["/home nfs4"]);
        assert!(found("/mach").is_empty());
    }
}
