//! `disks.usage`, `disks.inodes`: the file systems that process 1 has mounted, with their space or inodes. A job has mounts of
//! its own: one that covers the host's is not asked, because its answer would be taken for the host's. One that does not answer
//! is named, and costs no other its answer.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{Statvfs, fstatvfs};
use remit_common::PRIVATE;
use remit_common::mount_table::{self, MountLine, WITHOUT_DATA, unescape};
use serde::Serialize;

use super::processes::{HIDDEN, hides_others};
use crate::text::{Unseen, lines, print, shown, table};

/// Time for all answers. A server that is down gives none.
const PATIENCE: Duration = Duration::from_secs(5);
/// Threads that ask. One without an answer goes with the process: the kernel ends it for a network file system, not for FUSE.
const THREADS: usize = 32;
/// File systems of programs that have no space.
const WITHOUT_SPACE: [&str; 3] = ["fuse.gvfsd-fuse", "fuse.lxcfs", "fuse.portal"];

#[derive(Clone, Debug, PartialEq, Eq)]
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
        let [all, used, free, used_percent] = inode_cells(space.files(), space.files_free());
        let (source, fstype) = (mounted.source.clone(), mounted.fstype.clone());
        [
            source,
            fstype,
            all,
            used,
            free,
            used_percent,
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

/// Returns all inodes, used and free ones, and the share of the used. btrfs and FAT count none.
fn inode_cells(all: u64, free: u64) -> [String; 4] {
    let used = all.saturating_sub(free);
    match all {
        0 => [(); 4].map(|()| "-".to_owned()),
        _ => [
            all.to_string(),
            used.to_string(),
            free.to_string(),
            per_cent(used, free),
        ],
    }
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
    let mut wanted = Vec::new();
    let table = mounts("/proc/1/mountinfo").map_err(|why| match hides_others() {
        true => format!("{why}: {HIDDEN}"),
        false => why,
    })?;
    for mounted in visible(table) {
        let kind = mounted.fstype.as_str();
        if WITHOUT_DATA.contains(&kind) || WITHOUT_SPACE.contains(&kind) || !is_wanted(&mounted) {
            continue;
        }
        match mounted.is_of_program() {
            true => unseen.add_of_program(&mounted.target),
            false => wanted.push(mounted),
        }
    }
    let answers = answers(&wanted, PATIENCE, move |mounted| mounted.ask(&own))?;
    let mut found = Vec::new();
    for (mounted, answer) in wanted.into_iter().zip(answers) {
        match answer {
            Some(Some(space)) if space.blocks() > 0 => found.push((mounted, space)),
            Some(Some(_)) => {}
            Some(None) => match PRIVATE.iter().find(|own| mounted.target == Path::new(own)) {
                Some(directory) => unseen.add_covered(directory),
                None => unseen.add(&mounted.target),
            },
            None => unseen.add_silent(&mounted.target, PATIENCE),
        }
    }
    Ok((found, unseen))
}

/// Asks all, those of this machine first. An answer is `None` if it did not come in time.
fn answers<T: Send + 'static>(
    all: &[Mounted],
    patience: Duration,
    ask: impl Fn(&Mounted) -> T + Send + Sync + 'static,
) -> Result<Vec<Option<T>>, String> {
    let mut questions: Vec<(usize, Mounted)> = all.iter().cloned().enumerate().collect();
    questions.sort_by_key(|(_, mounted)| !mounted.is_local());
    let threads = questions.len().min(THREADS);
    let shared = Arc::new((Mutex::new(questions.into_iter()), ask));
    let (sender, receiver) = mpsc::channel();
    for number in 0..threads {
        let (shared, sender) = (Arc::clone(&shared), sender.clone());
        let work = move || {
            let (questions, ask) = &*shared;
            let next = || questions.lock().ok()?.next();
            while let Some((at, mounted)) = next() {
                if sender.send((at, ask(&mounted))).is_err() {
                    return;
                }
            }
        };
        match thread::Builder::new().spawn(work) {
            Err(error) if number == 0 => {
                return Err(format!(
                    "cannot start a thread to ask file systems: {error}"
                ));
            }
            Ok(_) | Err(_) => {}
        }
    }
    drop(sender);
    let mut answers: Vec<Option<T>> = all.iter().map(|_| None).collect();
    let end = Instant::now() + patience;
    let left = || end.saturating_duration_since(Instant::now());
    while let Ok((at, answer)) = receiver.recv_timeout(left()) {
        if let Some(slot) = answers.get_mut(at) {
            *slot = Some(answer);
        }
    }
    Ok(answers)
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

    /// A program can fail to answer for good, and then not even a kill ends the question. Without the root nothing runs.
    fn is_of_program(&self) -> bool {
        let is_fuse = self.fstype == "fuse" || self.fstype.starts_with("fuse.");
        is_fuse && self.target != Path::new("/")
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
    fn file_system_without_an_answer_costs_no_other_its_own() {
        let mounted = |target: &str, source: &str| {
            let line = format!("1 2 0:3 / {target} rw - x {source} rw");
            parse(line.as_bytes()).remove(0)
        };
        let mut all = vec![mounted("/dead", "dead:/"), mounted("/nas", "nas:/")];
        all.extend((0..2 * THREADS).map(|_| mounted("/local", "/dev/sda1")));
        let (_alive, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let ask = move |mounted: &Mounted| {
            if mounted.target == Path::new("/dead") {
                let _ = gate.lock().unwrap().recv();
            }
            mounted.target.clone()
        };
        let found = answers(&all, Duration::from_secs(2), ask).unwrap();
        let expect = all.iter().map(|one| Some(one.target.clone()));
        let expect: Vec<_> = [None].into_iter().chain(expect.skip(1)).collect();
        assert_eq!(found, expect);
        let all = vec![mounted("/dead", "dead:/"); 3 * THREADS];
        let all = [all, vec![mounted("/local", "/dev/sda1")]].concat();
        let (_alive, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let ask = move |mounted: &Mounted| {
            if !mounted.is_local() {
                let _ = gate.lock().unwrap().recv();
            }
        };
        let found = answers(&all, Duration::from_secs(2), ask).unwrap();
        assert_eq!(found.iter().position(Option::is_some), Some(3 * THREADS));
        assert!(
            answers(&[], Duration::from_secs(9), |_| ())
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn file_system_without_inodes_has_no_numbers() {
        for (all, free, expect) in [
            (0, 0, ["-", "-", "-", "-"]),
            (100, 100, ["100", "0", "100", "0%"]),
            (100, 0, ["100", "100", "0", "100%"]),
        ] {
            assert_eq!(inode_cells(all, free), expect, "{all} {free}");
        }
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
        for (target, kind, is_of_program) in [
            ("/m", "fuse", true),
            ("/m", "fuse.sshfs", true),
            ("/", "fuse.fuse-overlayfs", false),
            ("/m", "fuseblk", false),
            ("/m", "nfs4", false),
        ] {
            let line = format!("1 2 0:3 / {target} rw - {kind} x rw");
            let found = parse(line.as_bytes())[0].is_of_program();
            assert_eq!(found, is_of_program, "{target} {kind}");
        }
    }
}
