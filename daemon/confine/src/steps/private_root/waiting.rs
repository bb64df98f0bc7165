//! Which roots can wait for their job, decided by the mount table alone. Pure: a file system of a network, or of a user's
//! program, may never answer, and a worker that asks it serves nobody.

use super::model::{Content, Root};
use remit_core::mount_table::{MountLine, is_in, mounts};

/// File systems without a device and without a server.
const IN_MEMORY: [&[u8]; 2] = [b"tmpfs", b"devtmpfs"];
/// What stays mounted anyway.
const STAYING: [&[u8]; 2] = [b"", b"usr"];

/// Returns true if a child can wait with this root, or with none of its own, without hindering anyone. It follows the host's
/// unmounts only if all mounts are shared. A root keeps every file system that it shows: its device stays busy after an
/// unmount. So the root may show only those of `/` and `/usr`, which stay anyway, and those without a device. No other may
/// be on the way to what it shows either, also none that another mount hides, because a look-up must not hang.
pub(crate) fn may_wait(root: Option<&Root>, mountinfo: &[u8]) -> bool {
    let Some(mounts) = mounts(mountinfo).collect::<Option<Vec<_>>>() else {
        return false;
    };
    if !mounts.iter().all(|mount| mount.is_shared) {
        return false;
    }
    // Of several mounts at one point the last one counts.
    let at = |point: &[u8]| mounts.iter().rev().find(|mount| mount.relative() == point);
    let staying = STAYING.map(|point| at(point).map(|mount| mount.device));
    let may_be_shown = |mount: &MountLine<'_>| {
        let stays = STAYING.contains(&mount.relative()) || staying.contains(&Some(mount.device));
        stays || IN_MEMORY.contains(&mount.kind)
    };
    let others = mounts.iter().filter(|mount| !may_be_shown(mount));
    let others: Vec<&[u8]> = others.map(MountLine::relative).collect();
    let mut shown = root.into_iter().flat_map(|root| &root.mounts);
    shown.all(|mount| match &mount.what {
        Content::Host(shown) => !others.iter().any(|at| is_in(shown.source.to_bytes(), at)),
        Content::Private(_) => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StrictProfile;
    use crate::steps::private_root::plan_root;
    use remit_spawn::ListedPath;

    const TABLE: &str = "\
21 1 253:0 / / rw shared:1 - ext4 /dev/vda rw
22 21 253:1 / /usr ro shared:2 - ext4 /dev/vdb ro
23 21 0:5 / /dev rw shared:3 - devtmpfs udev rw
24 21 0:23 / /run rw shared:4 - tmpfs tmpfs rw
";

    fn is_waiting(more: &str, shown: &str) -> bool {
        let path = ListedPath {
            path: shown.into(),
            optional: true,
        };
        let profile = StrictProfile {
            read: vec![path],
            ..StrictProfile::default()
        };
        let root = plan_root(&profile, "").unwrap();
        may_wait(Some(&root), format!("{TABLE}{more}").as_bytes())
    }

    #[test]
    fn root_with_other_file_systems_does_not_wait() {
        let line = |at: &str, device: &str, kind: &str| {
            format!("30 21 {device} / {at} rw shared:9 - {kind} x rw\n")
        };
        let fuse = |at: &str| line(at, "0:40", "fuse.sshfs");
        let two = fuse("/srv") + &line("/srv", "253:0", "ext4");
        for (more, want) in [
            (String::new(), true),
            (line("/srv", "253:0", "ext4"), true),
            (line("/srv", "253:1", "ext4"), true),
            (line("/srv", "0:41", "tmpfs"), true),
            (line("/srv", "253:2", "ext4"), false),
            (line("/srv", "0:42", "nfs4"), false),
            (fuse("/srv"), false),
            (fuse("/srv/a\\040b"), false),
            (two, false),
            // Not on the way.
            (fuse("/mnt"), true),
            (fuse("/sr"), true),
            (fuse("/srv/a"), true),
            (fuse("/srv/a\\040b/c/d"), true),
            // These say nothing of where they are.
            ("30 21 0:40 /\n".into(), false),
            (line("relative", "0:40", "ext4"), false),
        ] {
            assert_eq!(is_waiting(&more, "/srv/a b/c"), want, "{more}");
        }
        assert!(!is_waiting(&fuse("/dev"), "/srv"));
        assert!(!is_waiting(&line("/etc", "253:2", "ext4"), "/srv"));
    }

    #[test]
    fn kind_that_is_no_text_is_one_of_many() {
        let line = b"30 21 0:40 / /mnt rw shared:9 - fuse.\xff x rw\n";
        let table = [TABLE.as_bytes(), line].concat();
        assert!(may_wait(None, &table));
    }

    #[test]
    fn mounts_that_are_not_shared_let_nothing_wait() {
        let line = |optional: &str| format!("30 21 253:9 / /mnt rw {optional}- ext4 /dev/x rw\n");
        for (optional, want) in [
            ("shared:5 ", true),
            ("master:2 shared:5 ", true),
            ("master:2 ", false),
            ("", false),
        ] {
            let table = format!("{TABLE}{}", line(optional));
            assert_eq!(may_wait(None, table.as_bytes()), want, "{optional}");
        }
        // Neither a source nor a root makes a mount shared.
        for line in [
            "30 21 253:9 / /mnt rw - ext4 shared:1 rw\n",
            "30 21 253:9 /shared:1 /mnt rw - ext4 /dev/x rw\n",
        ] {
            let table = format!("{TABLE}{line}");
            assert!(!may_wait(None, table.as_bytes()), "{line}");
        }
        let named = format!("{TABLE}30 21 0:9 / /shared:1 rw - ext3 shared:1 rw\n");
        assert!(!may_wait(None, named.as_bytes()));
    }
}
