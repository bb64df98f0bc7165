//! The machine's mounts, as a view shows them. Nothing of a file system that could hang is opened.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::table::{Point, Shown, points};
use crate::sys;

/// Bytes of the longest mount table.
const TABLE_BYTES: u64 = 64 << 20;
/// Mounts that a view has at most, and mounts of single files: more are hidden.
const MOST_MOUNTS: usize = 256;
const MOST_FILES: usize = 32;

/// A mount of the machine, by a clone without what is mounted beneath it.
pub(super) struct Mounted {
    pub(super) at: CString,
    pub(super) clone: OwnedFd,
    pub(super) is_copied: bool,
}

/// What is mounted where.
#[derive(Default)]
pub(super) struct Mounts {
    pub(super) shown: Vec<Mounted>,
    /// Mounts of single files, opened: a view has a copy.
    pub(super) files: BTreeMap<CString, OwnedFd>,
    /// All others. What lies beneath them is hidden.
    pub(super) others: BTreeSet<CString>,
}

impl Mounts {
    /// Returns all mount points: what lies beneath them in the mounts around is hidden.
    pub(super) fn points(&self) -> impl Iterator<Item = &CString> {
        self.shown.iter().map(|mount| &mount.at).chain(&self.others)
    }

    /// Reads the machine's mounts. `proc` is its `/proc`, `host` its root. `is_all`: also those
    /// beneath private directories.
    pub(super) fn read(
        proc: BorrowedFd<'_>,
        host: BorrowedFd<'_>,
        is_all: bool,
    ) -> io::Result<Mounts> {
        let mut table = Vec::new();
        let file = sys::open_at(Some(proc), c"self/mountinfo", libc::O_RDONLY)?;
        File::from(file).take(TABLE_BYTES).read_to_end(&mut table)?;
        if table.len() as u64 == TABLE_BYTES {
            return Err(io::Error::from_raw_os_error(libc::E2BIG));
        }
        let mut mounts = Mounts::default();
        for Point { at, shown } in points(&table)? {
            let is_full = mounts.shown.len() == MOST_MOUNTS;
            if shown == Shown::Not || is_full || !(is_all || is_open_to_all(host, &at)?) {
                mounts.others.insert(at);
                continue;
            }
            let is_copied = shown == Shown::Copy;
            match Source::open(host, &at)? {
                Source::Directory(clone) => mounts.shown.push(Mounted {
                    at,
                    clone,
                    is_copied,
                }),
                Source::File(file) => {
                    mounts.others.insert(at.clone());
                    if mounts.files.len() < MOST_FILES {
                        mounts.files.insert(at, file);
                    }
                }
                Source::Other => drop(mounts.others.insert(at)),
            }
        }
        Ok(mounts)
    }
}

/// Returns true if everybody may pass through the directories above a mount. What is mounted beneath others is not shown.
fn is_open_to_all(host: BorrowedFd<'_>, at: &CStr) -> io::Result<bool> {
    let slashes = at.to_bytes().iter().enumerate();
    for (end, _) in slashes.filter(|(_, byte)| **byte == b'/') {
        let above = CString::new(at.to_bytes().get(..end).unwrap_or_default());
        let above = above.map_err(io::Error::other)?;
        match sys::open_plain(host, &above, libc::O_PATH) {
            Ok(above) if sys::stat_of(above.as_fd())?.st_mode & 0o001 != 0 => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// What is mounted at a point.
enum Source {
    /// A clone without what is mounted beneath.
    Directory(OwnedFd),
    /// A file that everybody may read.
    File(OwnedFd),
    /// Anything else, or another mount lies over it.
    Other,
}

impl Source {
    fn open(host: BorrowedFd<'_>, at: &CStr) -> io::Result<Source> {
        let path = if at.is_empty() { c"." } else { at };
        let source = match sys::open_plain(host, path, libc::O_PATH) {
            Ok(source) => source,
            Err(_) if !at.is_empty() => return Ok(Source::Other),
            Err(error) => return Err(error),
        };
        let mode = sys::stat_of(source.as_fd())?.st_mode;
        Ok(match mode & libc::S_IFMT {
            libc::S_IFDIR => Source::Directory(sys::copy_mount_of(source.as_fd(), false)?),
            libc::S_IFREG if mode & 0o004 != 0 => {
                let flags = libc::O_RDONLY | libc::O_NONBLOCK;
                match sys::open_plain(host, path, flags) {
                    Ok(file) => Source::File(file),
                    // Somebody has a lease on it, for one.
                    Err(_) => Source::Other,
                }
            }
            _ => Source::Other,
        })
    }
}
