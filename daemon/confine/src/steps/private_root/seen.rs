//! Checks a root that was built in advance: it must be what would be built now.

use super::model::{Content, Root, is_missing};
use crate::sys;
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// Device and inode of each file of the host that a root shows; `None` if it is missing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen(Vec<Option<(u64, u64)>>);

impl Seen {
    /// Looks in the host's tree at `host`, as a build does. Fails if something that is not optional is missing.
    pub(crate) fn new(root: &Root, host: BorrowedFd<'_>) -> io::Result<Seen> {
        let identity = |source: io::Result<Option<OwnedFd>>| {
            let stat = source?.map(|source| sys::stat_of(source.as_fd()));
            Ok(stat.transpose()?.map(|stat| (stat.st_dev, stat.st_ino)))
        };
        let all: io::Result<_> = sources(root, host).map(identity).collect();
        all.map(Seen)
    }
}

/// Returns true if a root can wait for its job without hindering anyone. It keeps every file system that it shows:
/// such a one can be unmounted, but its device stays busy. So the root may show only those of `/` and `/usr`, which
/// stay anyway, and those without a device.
pub(crate) fn may_wait(root: &Root, host: BorrowedFd<'_>) -> io::Result<bool> {
    let device = |fd: BorrowedFd<'_>| sys::stat_of(fd).map(|stat| stat.st_dev);
    let usr = sys::open_at(Some(host), c"usr", libc::O_PATH)?;
    let staying = [device(host)?, device(usr.as_fd())?];
    for source in sources(root, host) {
        let Some(source) = source? else { continue };
        if !staying.contains(&device(source.as_fd())?)
            && fstatfs(&source)?.filesystem_type() != TMPFS_MAGIC
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn sources<'a>(
    root: &'a Root,
    host: BorrowedFd<'a>,
) -> impl Iterator<Item = io::Result<Option<OwnedFd>>> + 'a {
    root.mounts.iter().filter_map(move |mount| {
        let Content::Host(shown) = &mount.what else {
            return None;
        };
        Some(match sys::open_plain(host, &shown.source, libc::O_PATH) {
            Err(e) if shown.optional && is_missing(&e) => Ok(None),
            other => other.map(Some),
        })
    })
}
