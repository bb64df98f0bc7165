//! Directories that a sandbox has of its own. They cover those of the host, which no walk can see.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use remit_common::PRIVATE;
use remit_common::mount_table::{MountLine, mounts};

use super::inode::Inode;

pub struct Covering(Vec<(Inode, &'static str)>);

impl Covering {
    pub fn new() -> Self {
        let found = |name| Some((Inode::behind(Path::new(name)).ok()?, name));
        Self(PRIVATE.into_iter().filter_map(found).collect())
    }

    /// Returns the name if this directory is one of them.
    pub fn name(&self, found: &Inode) -> Option<&'static str> {
        let mut all = self.0.iter();
        all.find(|(one, _)| one.id() == found.id())
            .map(|(_, name)| *name)
    }

    /// Returns the name if this directory is one of them, and what it covers may be on the device `walked`.
    pub fn name_on(&self, found: &Inode, walked: u64) -> Option<&'static str> {
        let name = self.name(found)?;
        let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
        let point = fs::canonicalize(name).unwrap_or_else(|_| name.into());
        covers(&table, &point, found.device(), walked).then_some(name)
    }
}

/// Whether the mount of `private` at `point` covers a directory of the device `walked`. Returns true if that is not known.
fn covers(table: &[u8], point: &Path, private: u64, walked: u64) -> bool {
    let mounts = || mounts(table).flatten();
    let is_on = |mount: &MountLine<'_>, device| {
        let (major, minor) = mount.device;
        libc::makedev(major, minor) == device
    };
    let point = point.as_os_str().as_bytes();
    let covering = mounts().find(|one| one.point == point && is_on(one, private));
    let below = covering.and_then(|covering| mounts().find(|one| one.id == covering.parent));
    // The number of a subvolume of btrfs is not in the table.
    let is_known = mounts().any(|one| is_on(&one, walked));
    !is_known || below.is_none_or(|below| is_on(&below, walked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_of_another_file_system_is_not_covered() {
        let root = "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n";
        let own = "21 20 0:30 / /tmp rw - tmpfs tmp rw\n";
        let (on_root, on_own) = (
            "40 20 0:50 / /tmp rw - tmpfs none rw\n",
            "40 21 0:50 / /tmp rw - tmpfs none rw\n",
        );
        for (table, walked, expect) in [
            (vec![root, on_root], (8, 1), true),
            (vec![root, own, on_own], (8, 1), false),
            // A subvolume.
            (vec![root, own, on_own], (0, 7), true),
            (vec![root], (8, 1), true),
            (vec![], (8, 1), true),
        ] {
            let (text, device) = (table.concat(), libc::makedev(walked.0, walked.1));
            let private = libc::makedev(0, 50);
            let found = covers(text.as_bytes(), Path::new("/tmp"), private, device);
            assert_eq!(found, expect, "{walked:?} {text}");
        }
    }
}
