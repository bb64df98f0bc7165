//! What the commit of a change would refuse, as far as this job sees it. All else `remit-commit` refuses.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::sys::statfs::fstatfs;
use remit_plan::{Change, Entry, FIXED_DIRECTORY, Kind, MOUNT_POINT, RENUMBERED, is_fat};
use remit_sys::sys;

use crate::catalogue::plan_path::Visibility;

/// `parent` is the directory of the path.
pub fn check(entry: &Entry, parent: &OwnedFd, visibility: Visibility) -> Result<(), String> {
    if fstatfs(parent).is_ok_and(|system| is_fat(system.filesystem_type().0)) {
        return Err(RENUMBERED.to_owned());
    }
    let directory = sys::statx_at(parent.as_fd(), c".").ok();
    let is_fixed = directory.is_some_and(|seen| remit_plan::is_fixed(seen.stx_attributes));
    if is_fixed && !matches!(entry.change, Change::SetMetadata { .. }) {
        return Err(FIXED_DIRECTORY.to_owned());
    }
    let Some(base) = entry.change.base() else {
        return Ok(());
    };
    let name = CString::new(entry.path.name()).unwrap_or_default();
    if let Ok(seen) = sys::statx_at(parent.as_fd(), &name) {
        let device = |seen: &libc::statx| (seen.stx_dev_major, seen.stx_dev_minor);
        let is_same_system = directory.is_none_or(|above| device(&above) == device(&seen));
        let kind = base.stat.kind;
        let attributes = on_machine(seen.stx_attributes, kind, is_same_system);
        let why = remit_plan::obstacle(kind, seen.stx_nlink.into(), attributes);
        why.map_or(Ok(()), Err)?;
    }
    let has_attributes = matches!(base.stat.kind, Kind::File | Kind::Directory);
    if visibility == Visibility::Names || !has_attributes {
        return Ok(());
    }
    let (names, list) = names(parent, entry.path.name()).unwrap_or_default();
    let why = remit_plan::attribute_conflict(&entry.change, &names, list.as_deref());
    why.map_or(Ok(()), Err)
}

/// Returns the attributes without a mount of this job: its sandbox mounts files and directories of the machine's own file system
/// on themselves.
const fn on_machine(attributes: u64, kind: Kind, is_same_system: bool) -> u64 {
    match is_same_system || !matches!(kind, Kind::Directory) {
        true => attributes & !MOUNT_POINT,
        false => attributes,
    }
}

/// Returns the names of the attributes of a path that can be opened, and its access list.
fn names(parent: &OwnedFd, name: &[u8]) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let name = OsStr::from_bytes(name);
    let opened = openat(parent, name, flags | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
    let list = sys::xattr(&opened, sys::ACCESS_LISTS[0]).ok();
    Some((sys::xattr_names(&opened).ok()?, list))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;
    use std::{env, process};

    use remit_plan::{Base, Metadata, PlanPath, Stat};

    use super::*;

    /// Version 2: the owner, user 64001, the group, the mask and others.
    const LIST: [(u16, u16, u32); 5] = [
        (1, 6, u32::MAX),
        (2, 6, 64001),
        (4, 4, u32::MAX),
        (16, 4, u32::MAX),
        (32, 4, u32::MAX),
    ];

    fn mode(path: &Path, mode: u32) -> Entry {
        let seen = fs::metadata(path).unwrap();
        let stat = Stat {
            kind: if seen.is_dir() {
                Kind::Directory
            } else {
                Kind::File
            },
            dev: seen.dev(),
            ino: seen.ino(),
            ctime_ns: 0,
            size: seen.len(),
            meta: Metadata {
                mode: seen.mode() & 0o7777,
                uid: seen.uid(),
                gid: seen.gid(),
            },
        };
        let meta = Metadata { mode, ..stat.meta };
        Entry {
            path: PlanPath::new(path.as_os_str().as_bytes()).unwrap(),
            change: Change::SetMetadata {
                base: Base::new(stat, None),
                meta,
            },
        }
    }

    fn refusal(entry: &Entry) -> String {
        let parent = Path::new(OsStr::from_bytes(entry.path.parent()));
        let parent = OwnedFd::from(File::open(parent).unwrap());
        let checked = check(entry, &parent, Visibility::Content);
        checked.err().unwrap_or_default()
    }

    #[test]
    fn mount_of_this_job_hides_no_other_attribute() {
        const IMMUTABLE: u64 = 0x10;
        let both = MOUNT_POINT | IMMUTABLE;
        for (attributes, kind, is_same_system, expect) in [
            (both, Kind::File, true, IMMUTABLE),
            (both, Kind::File, false, IMMUTABLE),
            (both, Kind::Directory, true, IMMUTABLE),
            (both, Kind::Directory, false, both),
            (MOUNT_POINT, Kind::File, false, 0),
            (IMMUTABLE, Kind::File, true, IMMUTABLE),
        ] {
            let found = on_machine(attributes, kind, is_same_system);
            assert_eq!(found, expect, "{attributes:x} {kind:?} {is_same_system}");
        }
    }

    #[test]
    fn what_a_commit_refuses_is_refused_before_it_is_asked_for() {
        let dir = env::temp_dir().join(format!("look-obstacles-{}", process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (plain, linked) = (dir.join("plain"), dir.join("linked"));
        fs::write(&plain, b"x").unwrap();
        assert_eq!(refusal(&mode(&plain, 0o777)), "");
        fs::hard_link(&plain, &linked).unwrap();
        assert!(refusal(&mode(&plain, 0o777)).contains("2 names (hard links)"));
        fs::remove_file(&linked).unwrap();
        let list = LIST.iter().flat_map(|(tag, rights, id)| {
            let words = [tag.to_le_bytes(), rights.to_le_bytes()].concat();
            [words, id.to_le_bytes().to_vec()].concat()
        });
        let list: Vec<u8> = 2_u32.to_le_bytes().into_iter().chain(list).collect();
        let file = File::open(&plain).unwrap();
        sys::set_xattr(&file, c"system.posix_acl_access", &list).unwrap();
        assert!(refusal(&mode(&plain, 0o664)).contains("it has an access list"));
        for none_gains in [0o600, 0o654] {
            assert_eq!(refusal(&mode(&plain, none_gains)), "");
        }
        fs::remove_dir_all(&dir).unwrap();
        let proc = mode(Path::new("/proc"), 0o500);
        assert_eq!(refusal(&proc), "a file system is mounted on it");
    }
}
