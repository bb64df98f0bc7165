//! `disks.usage`, `disks.inodes`: the file systems that process 1 has mounted, with their space or inodes. A job has mounts of
//! its own: one that covers the host's is not asked, because its answer would be taken for the host's.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{Statvfs, fstatvfs};
use remit_common::PRIVATE;
use remit_common::mount_table::{self, MountLine, WITHOUT_DATA, unescape};
use serde::Serialize;

use super::processes::{HIDDEN, hides_others};
use crate::text::{Unseen, lines, print, shown, table};

#[derive(Debug, PartialEq, Eq)]
struct Mounted {
    id: u64,
    device: (u32, u32),
    target: PathBuf,
    fstype: String,
    source: String,
}

/// Keys are those of findmnt(8).
#[derive(Debug, Serialize)]
struct Usages {
    filesystems: Vec<Usage>,
}

#[derive(Debug, Serialize)]
struct Usage {
    source: String,
    fstype: String,
    size: u64,
    used: u64,
    avail: u64,
    #[serde(rename = "use%")]
    used_percent: String,
    target: String,
}

pub fn usage() -> Result<ExitCode, String> {
    let (found, unseen) = asked(|_| true)?;
    let one = |(mounted, space): &(Mounted, Statvfs)| {
        let bytes = |blocks: u64| blocks.saturating_mul(space.fragment_size());
        let used = space.blocks().saturating_sub(space.blocks_free());
        let avail = space.blocks_available();
        Usage {
            source: mounted.source.clone(),
            fstype: mounted.fstype.clone(),
            size: bytes(space.blocks()),
            used: bytes(used),
            avail: bytes(avail),
            used_percent: per_cent(used, avail),
            target: mounted.shown(),
        }
    };
    let filesystems = found.iter().map(one).collect();
    lines([Usages { filesystems }])?;
    unseen.warn();
    Ok(ExitCode::SUCCESS)
}

pub fn inodes() -> Result<ExitCode, String> {
    let (found, unseen) = asked(Mounted::is_local)?;
    let row = |(mounted, space): &(Mounted, Statvfs)| {
        let free = space.files_free();
        let used = space.files().saturating_sub(free);
        let counts = [space.files(), used, free].map(|count| count.to_string());
        let [all, used_shown, free_shown] = counts;
        [
            mounted.source.clone(),
            mounted.fstype.clone(),
            all,
            used_shown,
            free_shown,
            per_cent(used, free),
            mounted.shown(),
        ]
    };
    let rows: Vec<_> = found.iter().map(row).collect();
    let head = [
        "SOURCE", "TYPE", "INODES", "USED", "FREE", "USED %", "TARGET",
    ];
    print(&table(head, &rows))?;
    unseen.warn();
    Ok(ExitCode::SUCCESS)
}

/// Rounded up, as df(1) does.
fn per_cent(used: u64, free: u64) -> String {
    let all = u128::from(used) + u128::from(free);
    let per_cent = (u128::from(used) * 100).div_ceil(all.max(1));
    format!("{per_cent}%")
}

/// Returns the file systems of the host that have space, and names those that cannot be asked.
fn asked(is_wanted: fn(&Mounted) -> bool) -> Result<(Vec<(Mounted, Statvfs)>, Unseen), String> {
    let own = mounts("/proc/self/mountinfo")?;
    let own: HashMap<_, _> = own.into_iter().map(|one| (one.id, one.device)).collect();
    let mut unseen = Unseen::default();
    let mut found = Vec::new();
    let table = mounts("/proc/1/mountinfo").map_err(|why| match hides_others() {
        true => format!("{why}: {HIDDEN}"),
        false => why,
    })?;
    for mounted in visible(table) {
        if WITHOUT_DATA.contains(&mounted.fstype.as_str()) || !is_wanted(&mounted) {
            continue;
        }
        match mounted.ask(&own) {
            Some(space) if space.blocks() > 0 => found.push((mounted, space)),
            Some(_) => {}
            None => match PRIVATE.iter().find(|own| mounted.target == Path::new(own)) {
                Some(directory) => unseen.add_covered(directory),
                None => unseen.add(&mounted.target),
            },
        }
    }
    Ok((found, unseen))
}

/// Leaves out mounts that the host itself covers by a later one.
fn visible(all: Vec<Mounted>) -> impl Iterator<Item = Mounted> {
    let last = all.iter().map(|one| (one.target.clone(), one.id));
    let last: HashMap<PathBuf, u64> = last.collect();
    all.into_iter()
        .filter(move |one| last.get(&one.target) == Some(&one.id))
}

fn mounts(table: &str) -> Result<Vec<Mounted>, String> {
    let read = fs::read(table).map_err(|error| format!("cannot read {table}: {error}"))?;
    Ok(parse(&read))
}

fn parse(table: &[u8]) -> Vec<Mounted> {
    let mounted = |mount: MountLine<'_>| {
        Some(Mounted {
            id: mount.id,
            device: mount.device,
            target: OsStr::from_bytes(&mount.point).into(),
            fstype: shown(mount.kind),
            source: shown(&unescape(mount.source)?),
        })
    };
    let lines = mount_table::mounts(table).flatten();
    lines.filter_map(mounted).collect()
}

impl Mounted {
    /// Returns `None` if the job may not look there, or finds another file system there.
    fn ask(&self, own: &HashMap<u64, (u32, u32)>) -> Option<Statvfs> {
        // O_PATH needs no permission on the directory itself, and mounts nothing.
        let fd = open(
            &self.target,
            OFlag::O_PATH | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .ok()?;
        let facts = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).ok()?;
        let id = facts
            .lines()
            .find_map(|line| line.strip_prefix("mnt_id:"))?;
        let id = id.trim().parse().ok()?;
        if own.get(&id) != Some(&self.device) {
            return None;
        }
        fstatvfs(&fd).ok()
    }

    /// As df(1) has it, but for types of file systems that are rare today.
    fn is_local(&self) -> bool {
        !self.source.contains(':') && !self.source.starts_with("//")
    }

    fn shown(&self) -> String {
        shown(self.target.as_os_str().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_system_at_another_device_is_not_asked() {
        let own = mounts("/proc/self/mountinfo").unwrap();
        let devices: HashMap<u64, _> = own.iter().map(|one| (one.id, one.device)).collect();
        let root = || Mounted {
            id: 0,
            target: "/".into(),
            fstype: "ext4".into(),
            source: "x".into(),
            device: own
                .iter()
                .find(|one| one.target == Path::new("/"))
                .unwrap()
                .device,
        };
        assert!(root().ask(&devices).is_some());
        let covered = Mounted {
            device: (0, 0),
            ..root()
        };
        assert!(covered.ask(&devices).is_none());
        let missing = Mounted {
            target: "/no/such/path".into(),
            ..root()
        };
        assert!(missing.ask(&devices).is_none());
    }

    #[test]
    fn of_mounts_at_one_directory_the_last_is_visible() {
        let all = b"1 0 0:1 / /a rw - x a rw\n\
            2 0 0:2 / /b\\040c rw - x b rw\n\
            3 0 0:3 / /a rw - x c rw\n";
        assert_eq!(parse(all)[1].target, Path::new("/b c"));
        let found: Vec<u64> = visible(parse(all)).map(|one| one.id).collect();
        assert_eq!(found, [2, 3]);
    }

    #[test]
    fn share_and_kind_are_those_of_df() {
        for (used, free, expect) in [
            (0, 0, "0%"),
            (1, 999, "1%"),
            (5, 0, "100%"),
            (u64::MAX, u64::MAX, "50%"),
        ] {
            assert_eq!(per_cent(used, free), expect, "{used} {free}");
        }
        for (source, is_local) in [
            ("/dev/sda1", true),
            ("tmpfs", true),
            ("nas:/home", false),
            ("//nas/home", false),
        ] {
            let line = format!("1 2 0:3 / /m rw - x {source} rw");
            assert_eq!(parse(line.as_bytes())[0].is_local(), is_local, "{source}");
        }
    }
}
