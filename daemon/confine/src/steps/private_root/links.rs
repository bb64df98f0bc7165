//! Follows links of the machine on the way of a path that is only read: at the load, and only those of root. A link of
//! another user could lead to any file of the machine, and one that is followed at the start could change meanwhile.

use super::model::relative;
use crate::steps::mount_line::MountLine;
use crate::steps::trust;
use remit_sys::links::{Followed, follow};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// File systems without a server, which always answer.
const LOCAL: [&[u8]; 22] = [
    b"bcachefs",
    b"btrfs",
    b"cramfs",
    b"devtmpfs",
    b"erofs",
    b"exfat",
    b"ext2",
    b"ext3",
    b"ext4",
    b"f2fs",
    b"iso9660",
    b"jfs",
    b"nilfs2",
    b"overlay",
    b"ramfs",
    b"reiserfs",
    b"squashfs",
    b"tmpfs",
    b"udf",
    b"vfat",
    b"xfs",
    b"zfs",
];
/// Mount points that are asked whatever is mounted: the machine itself needs their answers.
const NEEDED: [&[u8]; 2] = [b"", b"usr"];
/// A root has its own.
const OWN: [&str; 2] = ["/proc", "/dev"];

/// The mount points of this machine that may never answer. `None`: not known, so no link is followed.
#[derive(Debug)]
pub(super) struct RootLinks(Option<BTreeSet<PathBuf>>);

impl RootLinks {
    pub(super) fn here() -> Self {
        let table = fs::read("/proc/self/mountinfo").ok();
        RootLinks(table.and_then(|table| silent(&table)))
    }

    /// Returns the path that a path with links leads to. `None`: it has none, or they are not followed.
    pub(super) fn target(&self, path: &Path) -> Option<PathBuf> {
        let silent = self.0.as_ref()?;
        let asks = |path: &Path| !silent.contains(path);
        let Followed::To(real) = follow(path, asks, trust::is_roots_directory) else {
            return None;
        };
        let is_own = OWN.iter().any(|own| real.starts_with(own));
        (!is_own && relative(&real).is_ok()).then_some(real)
    }
}

fn silent(mountinfo: &[u8]) -> Option<BTreeSet<PathBuf>> {
    use std::os::unix::ffi::OsStringExt;
    let lines = mountinfo.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.is_empty()).map(MountLine::parse);
    let mounts = lines.collect::<Option<Vec<MountLine<'_>>>>()?.into_iter();
    let mounts = mounts
        .filter(|mount| !LOCAL.contains(&mount.kind) && !NEEDED.contains(&mount.at.as_slice()));
    let path = |mount: MountLine<'_>| Path::new("/").join(std::ffi::OsString::from_vec(mount.at));
    Some(mounts.map(path).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_servers_are_not_asked() {
        let line = |at: &str, kind: &str| format!("30 21 0:9 / {at} rw shared:9 - {kind} x rw\n");
        let table = [
            line("/", "nfs4"),
            line("/usr", "fuse.x"),
            line("/run", "tmpfs"),
            line("/home", "autofs"),
            line("/srv/a\\040b", "nfs4"),
            // A disk on top of it: the server's is asked on the way.
            line("/mnt", "fuse.sshfs"),
            line("/mnt", "ext4"),
        ];
        let found = silent(table.concat().as_bytes()).unwrap();
        let want = ["/home", "/mnt", "/srv/a b"].map(PathBuf::from);
        assert_eq!(found, BTreeSet::from(want));
        assert_eq!(silent(b"30 21 0:9 /\n"), None);
        assert_eq!(RootLinks(None).target(Path::new("/dev/fd")), None);
    }

    #[test]
    fn links_into_what_a_root_has_of_its_own_are_not_followed() {
        let dir = Path::new("/run").join(format!("remit-root-links-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let links = RootLinks(Some(BTreeSet::new()));
        for (to, is_followed) in [
            ("/proc/version", false),
            ("/dev/null", false),
            ("/", false),
            ("/etc", true),
        ] {
            let link = dir.join("link");
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(to, &link).unwrap();
            assert_eq!(links.target(&link).is_some(), is_followed, "{to}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
