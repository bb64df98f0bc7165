//! What a worker knows of the machine's directories, so that a copy of the machine costs a walk through what has changed, and
//! not through all of it. The kernel reports each change of names and permissions of a whole file system, also by another name of
//! the same file (fanotify(7), `FAN_MARK_FILESYSTEM`). It does so before the call returns that makes the change. So before a
//! fork the worker forgets each part of which it has a report.
//!
//! **Invariant:** what the worker cannot know is forgotten: after changes of mounts, lost or unknown reports, and while a server
//! of files in the kernel may set access lists without a report. Other file systems than ext4 are not watched.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};
use nix::sys::statfs::{EXT4_SUPER_MAGIC, fstatfs};

use crate::steps::changes::Changes;
use crate::steps::view::{Known, Shown, Watched, WatchedMount, points};
use crate::sys;

/// `FAN_REPORT_FID`: the event names what has changed, and opens nothing. For a new name that is its directory.
const REPORT_FID: u32 = 0x200;
/// Bytes that are read at once, and how often: who makes more reports than that has all forgotten.
const READ: usize = 64 << 10;
const READS: usize = 64;
/// Reports that are remembered for walks on their way: what these find is forgotten beyond.
const RECENT: usize = 1 << 16;
/// Inodes of all parts.
const INODES: usize = 2_000_000;
/// Bytes of a mount table, and mounts that are watched.
const TABLE_BYTES: u64 = 1 << 20;
const MOST_WATCHED: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Watch {
    on: Option<On>,
    /// Reports until `on` began. Never goes back.
    reports: u64,
}

struct On {
    group: Fanotify,
    changes: Changes,
    watched_mounts: Vec<WatchedMount>,
    known: Known,
    /// Inodes of the reports since `on` began.
    recent: Vec<u64>,
}

impl std::fmt::Debug for On {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("On").finish_non_exhaustive()
    }
}

impl Watch {
    /// Forgets what has changed. Returns what is known then; nothing if this machine cannot be watched.
    pub(super) fn look(&mut self) -> Option<Watched<'_>> {
        let Ok(changes) = Changes::here() else {
            self.stop();
            return None;
        };
        let is_right = match &mut self.on {
            Some(on) => on.catch_up().unwrap_or(false),
            None => false,
        };
        let is_silent = has_silent_server();
        if !is_right || is_silent {
            self.stop();
        }
        if self.on.is_none() && !is_silent {
            self.on = On::new().ok();
        }
        let on = self.on.as_mut()?;
        if on.recent.len() > RECENT {
            self.reports += on.recent.len() as u64;
            on.recent.clear();
        }
        Some(Watched {
            known: &on.known,
            watched_mounts: &on.watched_mounts,
            changes,
            group: on.group.as_fd(),
            reports: self.reports + on.recent.len() as u64,
        })
    }

    /// Keeps what a walk has found that began after this number of reports, without what has changed since.
    pub(super) fn learn(&mut self, reports: u64, found: &[u8]) {
        let Some(on) = &mut self.on else { return };
        let since = reports.checked_sub(self.reports);
        let since = since.and_then(|since| on.recent.get(usize::try_from(since).ok()?..));
        let (Some(since), Ok(mut found)) = (since, postcard::from_bytes::<Known>(found)) else {
            return;
        };
        let mut since = since.to_vec();
        since.sort_unstable();
        found.retain(|(watched_mount, _), part| {
            on.watched_mounts.contains(watched_mount) && !part.has_any(&since)
        });
        on.known.append(&mut found);
        let inodes: usize = on.known.values().map(|part| part.inodes.len()).sum();
        if inodes > INODES {
            on.known.clear();
        }
    }

    /// The kernel reports nothing from now on.
    pub(super) fn stop(&mut self) {
        if let Some(on) = self.on.take() {
            self.reports += on.recent.len() as u64 + 1;
        }
    }

    /// The kernel's reports, if there are any. Who forks closes it in the child.
    pub(super) fn group(&self) -> Option<BorrowedFd<'_>> {
        self.on.as_ref().map(|on| on.group.as_fd())
    }
}

impl On {
    fn new() -> io::Result<On> {
        let flags = InitFlags::FAN_CLASS_NOTIF
            | InitFlags::FAN_CLOEXEC
            | InitFlags::FAN_NONBLOCK
            | InitFlags::from_bits_retain(REPORT_FID);
        let changes = Changes::here()?;
        let group = Fanotify::init(flags, EventFFlags::O_RDONLY)?;
        let host = sys::open(c"/", libc::O_PATH | libc::O_DIRECTORY)?;
        let mut watched_mounts = Vec::new();
        for point in points(&table(&changes)?)?.into_iter().take(MOST_WATCHED) {
            if point.shown == Shown::Copy
                && let Ok(watched_mount) = mark(&group, host.as_fd(), &point.at)
            {
                watched_mounts.extend(watched_mount);
            }
        }
        Ok(On {
            group,
            changes,
            watched_mounts,
            known: Known::new(),
            recent: Vec::new(),
        })
    }

    /// Forgets what has changed. Returns false if that is unknown.
    fn catch_up(&mut self) -> io::Result<bool> {
        if self.changes.any()? {
            return Ok(false);
        }
        let mut buffer = vec![0; READ];
        for _ in 0..READS {
            let length = match sys::read(self.group.as_fd(), &mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                length => length?,
            };
            let Some(mut inodes) = buffer.get(..length).and_then(changed) else {
                return Ok(false);
            };
            inodes.sort_unstable();
            inodes.dedup();
            self.known.retain(|_, part| !part.has_any(&inodes));
            self.recent.extend(inodes);
        }
        Ok(false)
    }
}

/// Watches the file system that is mounted there. Returns nothing for one that is not watched.
fn mark(
    group: &Fanotify,
    host: BorrowedFd<'_>,
    at: &std::ffi::CStr,
) -> io::Result<Option<WatchedMount>> {
    let path = if at.is_empty() { c"." } else { at };
    let directory = sys::open_plain(host, path, libc::O_PATH | libc::O_DIRECTORY)?;
    if fstatfs(&directory)?.filesystem_type() != EXT4_SUPER_MAGIC {
        return Ok(None);
    }
    // What is gone could be made again by a job, and would be refused as hidden.
    let gone = MaskFlags::FAN_DELETE | MaskFlags::FAN_MOVED_FROM;
    let mask = MaskFlags::FAN_ATTRIB
        | MaskFlags::FAN_CREATE
        | MaskFlags::FAN_MOVED_TO
        | gone
        | MaskFlags::FAN_ONDIR;
    let flags = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM;
    group.mark(flags, mask, &directory, Some(Path::new(".")))?;
    let stat = sys::stat_of(directory.as_fd())?;
    Ok(Some(WatchedMount {
        at: at.to_bytes().to_vec(),
        device: stat.st_dev,
        inode: stat.st_ino,
    }))
}

fn table(changes: &Changes) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut table = Vec::new();
    let file = fs::File::from(changes.table()?);
    file.take(TABLE_BYTES).read_to_end(&mut table)?;
    match table.len() as u64 == TABLE_BYTES {
        true => Err(io::Error::from_raw_os_error(libc::E2BIG)),
        false => Ok(table),
    }
}

/// Servers of NFS and SMB in the kernel set access lists without a report. Returns true if one may be there.
fn has_silent_server() -> bool {
    let systems = fs::read_to_string("/proc/filesystems");
    let has_nfsd = systems.map_or(true, |all| all.lines().any(|line| line.ends_with("\tnfsd")));
    let classes = Path::new("/sys/class");
    has_nfsd || !classes.is_dir() || classes.join("ksmbd-control").exists()
}

/// Returns the inodes of reports; nothing if one of them is lost, or of a form that is not known. fanotify(7).
fn changed(mut reports: &[u8]) -> Option<Vec<u64>> {
    /// `FAN_EVENT_INFO_TYPE_FID`, and `FILEID_INO32_GEN`, the handles of ext4.
    const FID: u8 = 1;
    const INODE_AND_GENERATION: u32 = 1;
    let mut inodes = Vec::new();
    while !reports.is_empty() {
        let number = |at: usize| -> Option<u32> {
            Some(u32::from_ne_bytes(
                reports.get(at..at + 4)?.try_into().ok()?,
            ))
        };
        let length = usize::try_from(number(0)?).ok()?;
        let version = *reports.get(4)?;
        let head = usize::from(u16::from_ne_bytes(reports.get(6..8)?.try_into().ok()?));
        let mask = u64::from_ne_bytes(reports.get(8..16)?.try_into().ok()?);
        let is_lost = mask & MaskFlags::FAN_Q_OVERFLOW.bits() != 0;
        // Behind the head: type, length, id of the file system, then a handle: its length, its type, inode and generation.
        let is_known = version == libc::FANOTIFY_METADATA_VERSION
            && *reports.get(head)? == FID
            && number(head + 12)? == 8
            && number(head + 16)? == INODE_AND_GENERATION;
        if is_lost || !is_known || length < head + 28 {
            return None;
        }
        inodes.push(u64::from(number(head + 20)?));
        reports = reports.get(length..)?;
    }
    Some(inodes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::view::Part;

    fn report(mask: u64, info: &[u8]) -> Vec<u8> {
        let length = 24 + info.len() as u32;
        [
            &length.to_ne_bytes()[..],
            &[libc::FANOTIFY_METADATA_VERSION, 0],
            &24u16.to_ne_bytes(),
            &mask.to_ne_bytes(),
            &(-1i32).to_ne_bytes(),
            &1i32.to_ne_bytes(),
            info,
        ]
        .concat()
    }

    fn info(kind: u8, bytes: u32, form: i32, inode: u32) -> Vec<u8> {
        let length = (20 + bytes) as u16;
        [
            &[kind, 0][..],
            &length.to_ne_bytes(),
            &[7; 8],
            &bytes.to_ne_bytes(),
            &form.to_ne_bytes(),
            &inode.to_ne_bytes(),
            &vec![9; bytes as usize - 4],
        ]
        .concat()
    }

    #[test]
    fn reports_have_inodes_or_nothing_is_known() {
        let attrib = MaskFlags::FAN_ATTRIB.bits();
        let two = [
            report(attrib, &info(1, 8, 1, 12)),
            report(attrib, &info(1, 8, 1, u32::MAX)),
        ]
        .concat();
        assert_eq!(changed(&two), Some(vec![12, u64::from(u32::MAX)]));
        assert_eq!(changed(&[]), Some(Vec::new()));
        for cut in 1..two.len() {
            let expected = (cut == two.len() / 2).then(|| vec![12]);
            assert_eq!(changed(&two[..cut]), expected, "{cut}");
        }
        let lost = MaskFlags::FAN_Q_OVERFLOW.bits();
        for (why, one) in [
            ("lost", report(lost, &[])),
            ("lost, with a handle", report(lost, &info(1, 8, 1, 12))),
            ("without a handle", report(attrib, &[])),
            (
                "with another form of it",
                report(attrib, &info(1, 8, 0x81, 12)),
            ),
            ("with a longer one", report(attrib, &info(1, 12, 1, 12))),
            ("with something else", report(attrib, &info(4, 8, 1, 12))),
        ] {
            assert_eq!(changed(&one), None, "{why}");
            let both = [&one[..], &report(attrib, &info(1, 8, 1, 13))].concat();
            assert_eq!(changed(&both), None, "{why}, and another one");
        }
    }

    /// Without the kernel: what is learned when.
    #[test]
    fn what_changes_during_a_walk_is_not_learned() {
        let watched_mount = WatchedMount {
            at: Vec::new(),
            device: 1,
            inode: 2,
        };
        let found = |watched_mount: &WatchedMount| {
            let part = |first: u64| Part {
                first,
                inodes: vec![first, first + 1],
                ..Part::default()
            };
            let key = |path: &[u8]| (watched_mount.clone(), path.to_vec());
            let found: Known = [(key(b"a"), part(10)), (key(b"b"), part(20))].into();
            postcard::to_stdvec(&found).unwrap()
        };
        let on = |recent: &[u64]| On {
            group: Fanotify::init(InitFlags::FAN_CLASS_NOTIF, EventFFlags::O_RDONLY).unwrap(),
            changes: Changes::here().unwrap(),
            watched_mounts: vec![watched_mount.clone()],
            known: Known::new(),
            recent: recent.to_vec(),
        };
        let learned = |recent: &[u64], reports: u64, found: &[u8]| {
            let mut watch = Watch {
                on: Some(on(recent)),
                reports: 100,
            };
            watch.learn(reports, found);
            let known = watch.on.map(|on| on.known).unwrap();
            known
                .into_keys()
                .flat_map(|(_, path)| path)
                .collect::<Vec<u8>>()
        };
        let usual = found(&watched_mount);
        assert_eq!(learned(&[], 100, &usual), b"ab");
        assert_eq!(learned(&[11], 100, &usual), b"b");
        assert_eq!(learned(&[11], 101, &usual), b"ab");
        assert_eq!(learned(&[11, 12, 20], 101, &usual), b"a");
        assert_eq!(learned(&[20, 12, 11], 101, &usual), b"b");
        // From before the reports that are remembered, or from a time that is not yet.
        assert_eq!(learned(&[11], 99, &usual).len(), 0);
        assert_eq!(learned(&[11], 102, &usual).len(), 0);
        let other_mount = WatchedMount {
            device: 3,
            ..watched_mount.clone()
        };
        assert_eq!(learned(&[], 100, &found(&other_mount)).len(), 0);
        assert_eq!(learned(&[], 100, &usual[..usual.len() - 1]).len(), 0);
        let mut watch = Watch {
            on: Some(on(&[11])),
            reports: 100,
        };
        watch.stop();
        watch.on = Some(on(&[]));
        watch.learn(101, &usual);
        assert!(watch.on.unwrap().known.is_empty());
    }
}
