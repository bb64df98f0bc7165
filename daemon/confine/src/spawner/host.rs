//! The host's tree, for a worker, and for a child that waits for its job. While it waits, a child's tree follows the
//! host's unmounts and so keeps no device busy. If some mount of the host is not shared, it would not follow: then no
//! child waits. When the job comes, the child cuts its tree off. What the host has mounted meanwhile would be writable
//! in there, and what it has replaced would be shown as it was. So the child takes the job only if the host's tree has
//! not changed since before its fork, which the kernel reports at that moment (poll(2) on `/proc/self/mountinfo`,
//! proc_pid_mountinfo(5)); and, with a root of its own, if each path that this shows still leads to the same file.

use crate::Sandbox;
use crate::steps::changes::Changes;
use crate::steps::private_root::{self, Seen};
use crate::sys::{self, Propagation};
use std::{
    fs,
    io::{self, Read, Seek},
    os::fd::{AsFd, OwnedFd},
};

/// Bytes of the longest mount table.
const TABLE_BYTES: u64 = 64 << 20;

#[derive(Debug)]
pub(super) struct HostTree {
    changes: Changes,
    /// A child can wait, as the mounts were at the last change. `None` if that is not known.
    may_wait: Option<bool>,
}

/// Returns true if a child of this sandbox can wait. Asks no file system: one that is mounted may not answer.
fn may_wait(changes: &Changes, sandbox: &Sandbox) -> io::Result<bool> {
    let (mut table, mut bytes) = (fs::File::from(changes.table()?), Vec::new());
    table.rewind()?;
    table.take(TABLE_BYTES).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64) < TABLE_BYTES && private_root::may_wait(sandbox.root(), &bytes))
}

impl HostTree {
    pub(super) fn new(sandbox: &Sandbox) -> io::Result<HostTree> {
        let changes = Changes::here()?;
        let may_wait = Some(may_wait(&changes, sandbox)?);
        Ok(HostTree { changes, may_wait })
    }

    /// Returns the tree before the fork of a child that waits. Fails if the child would keep mounts of the host busy.
    pub(super) fn before_fork(&mut self, sandbox: &Sandbox) -> io::Result<TreeAtFork> {
        let changes = Changes::here()?;
        if self.changes.any()? {
            self.may_wait = None;
        }
        let may_wait = match self.may_wait {
            Some(may_wait) => may_wait,
            None => may_wait(&self.changes, sandbox)?,
        };
        self.may_wait = Some(may_wait);
        if !may_wait {
            return Err(io::Error::from_raw_os_error(libc::EBUSY));
        }
        let shown = sandbox.root().map(|root| {
            let host = sys::open(c"/", libc::O_PATH | libc::O_DIRECTORY)?;
            let seen = Seen::new(root, host.as_fd())?;
            io::Result::Ok((host, seen))
        });
        let shown = shown.transpose()?;
        Ok(TreeAtFork { changes, shown })
    }
}

/// The host's tree before the fork of a child, which keeps it until its job comes.
#[derive(Debug)]
pub(super) struct TreeAtFork {
    changes: Changes,
    /// The host's root, and what a root of the child's own shows of it.
    shown: Option<(OwnedFd, Seen)>,
}

impl TreeAtFork {
    /// Cuts the child's tree off from the host's, if it `follows` that. Returns true if the host's is still the same.
    /// Looks up no path of another file system than the worker did, so none that may hang.
    pub(super) fn cut_off(self, sandbox: &Sandbox, follows: bool) -> io::Result<bool> {
        if follows {
            sys::set_whole_tree(0, Propagation::Private)?;
        }
        // Asked last, because what the host mounted before is in there, too.
        Ok(!self.changes.any()? && self.shows_the_same(sandbox)?)
    }

    fn shows_the_same(&self, sandbox: &Sandbox) -> io::Result<bool> {
        match (sandbox.root(), &self.shown) {
            (Some(root), Some((host, seen))) => Ok(Seen::new(root, host.as_fd())? == *seen),
            (Some(_), None) => Ok(false),
            (None, _) => Ok(true),
        }
    }
}

#[cfg(test)]
mod tests;
