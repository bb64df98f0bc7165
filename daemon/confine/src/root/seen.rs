//! What a root was built of, looked at again: one that was built ahead must be what would be built now.

use super::{Content, Root, is_missing};
use crate::floor;
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// What stands at each place that a root shows of the host: device and inode, `None` where nothing does.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen(Vec<Option<(u64, u64)>>);

impl Seen {
    /// Looks in the host's tree at `host`, as a build does.
    ///
    /// # Errors
    /// What is not optional is missing, or cannot be reached.
    pub(crate) fn of(root: &Root, host: BorrowedFd<'_>) -> io::Result<Seen> {
        let identity = |source: io::Result<Option<OwnedFd>>| {
            let stat = source?.map(|source| floor::stat_of(source.as_fd()));
            Ok(stat.transpose()?.map(|stat| (stat.st_dev, stat.st_ino)))
        };
        let all: io::Result<_> = sources(root, host).map(identity).collect();
        all.map(Seen)
    }
}

/// Whether a root can wait for its job, however long, and nobody is hindered: it keeps every file system
/// that it shows, which then can be unmounted but not let go. So it may show only those that stay anyhow, of `/` and
/// `/usr`, and those without a device.
pub(crate) fn may_wait(root: &Root, host: BorrowedFd<'_>) -> io::Result<bool> {
    let device = |fd: BorrowedFd<'_>| floor::stat_of(fd).map(|stat| stat.st_dev);
    let usr = floor::open_at(Some(host), c"usr", libc::O_PATH)?;
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
        Some(match floor::open_plain(host, &shown.source, libc::O_PATH) {
            Err(e) if shown.optional && is_missing(&e) => Ok(None),
            other => other.map(Some),
        })
    })
}
