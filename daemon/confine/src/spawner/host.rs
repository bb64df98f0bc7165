//! The host's tree, as the spawner sees it while children wait for their jobs.
//!
//! While it waits, a child's tree follows the host's unmounts and so keeps no device busy. If some mount of the host is
//! not shared, it would not follow: then no child waits. When the job comes, the tree is cut off. What the host has
//! mounted meanwhile would be writable in there, and what it has replaced would be shown as it was. So a child gets its
//! job only if the host's tree has not changed since before its fork, which the kernel reports at that moment (poll(2)
//! on `/proc/self/mountinfo`, proc_pid_mountinfo(5)); and, with a root of its own, if each path that this shows still
//! leads to the same file.

use crate::Sandbox;
use crate::spec::compiled::Base;
use crate::steps::private_root::Seen;
use crate::sys::{self, Propagation};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::{
    cell::Cell,
    fs,
    io::{self, BufRead, BufReader, Seek},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

#[derive(Debug)]
pub(super) struct HostTree {
    namespace: OwnedFd,
    root: OwnedFd,
    changes: Changes,
    /// All its mounts are shared, as systemd makes them.
    shared: Cell<bool>,
}

#[derive(Debug)]
pub(super) struct Changes(OwnedFd);

impl Changes {
    pub(super) fn here() -> io::Result<Changes> {
        sys::open(c"/proc/self/mountinfo", libc::O_RDONLY).map(Changes)
    }

    /// Returns true if there was a change since the last call.
    fn any(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLPRI)];
        Ok(poll(&mut fds, PollTimeout::ZERO)? > 0)
    }

    fn all_are_shared(&self) -> io::Result<bool> {
        let mut mounts = BufReader::new(fs::File::from(self.0.try_clone()?));
        mounts.rewind()?;
        let (mut line, mut shared) = (Vec::new(), true);
        while shared && mounts.read_until(b'\n', &mut line)? > 0 {
            shared = is_shared(&line);
            line.clear();
        }
        Ok(shared)
    }
}

impl HostTree {
    pub(super) fn here() -> io::Result<HostTree> {
        let changes = Changes::here()?;
        Ok(HostTree {
            namespace: sys::open(c"/proc/self/ns/mnt", libc::O_RDONLY)?,
            root: sys::open(c"/", libc::O_PATH | libc::O_DIRECTORY)?,
            shared: Cell::new(changes.all_are_shared()?),
            changes,
        })
    }

    /// Returns true if the tree of a child that waits follows every unmount.
    pub(super) fn is_shared(&self) -> io::Result<bool> {
        if self.changes.any()? {
            self.shared.set(self.changes.all_are_shared()?);
        }
        Ok(self.shared.get())
    }

    /// Returns true if the tree is as it was before the fork of a child, which `shown` is from. Looks up no path of
    /// another file system than the child's worker did, so none that may hang.
    pub(super) fn is_as(
        &self,
        since: &Changes,
        shown: Option<&Seen>,
        sandbox: &Sandbox,
    ) -> io::Result<bool> {
        Ok(!since.any()? && self.shown(sandbox)?.as_ref() == shown)
    }

    fn shown(&self, sandbox: &Sandbox) -> io::Result<Option<Seen>> {
        match &sandbox.base {
            Base::Strict(strict) => Seen::new(&strict.root, self.root.as_fd()).map(Some),
            Base::Read(_) | Base::Host => Ok(None),
        }
    }

    /// Cuts a child's mount namespace off from within: this process, of one thread, enters it and comes back.
    pub(super) fn cut_off(&self, mount_ns: BorrowedFd<'_>) -> io::Result<()> {
        sys::set_namespace(mount_ns, libc::CLONE_NEWNS)?;
        let cut = sys::set_whole_tree(0, Propagation::Private);
        if sys::set_namespace(self.namespace.as_fd(), libc::CLONE_NEWNS).is_err() {
            // No daemon is better than one that works in the tree of a job.
            std::process::abort();
        }
        cut
    }
}

/// Parses a line of `/proc/PID/mountinfo`: its optional fields are between the sixth field and a lone hyphen.
fn is_shared(line: &[u8]) -> bool {
    let fields = line.split(|byte| *byte == b' ').skip(6);
    let mut optional = fields.take_while(|field| *field != b"-");
    optional.any(|field| field.starts_with(b"shared:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_mount_is_recognized_by_optional_fields() {
        for (line, want) in [
            (
                "36 35 98:0 /m /m rw,noatime shared:1 - ext3 /dev/root rw",
                true,
            ),
            (
                "36 35 98:0 /m /m rw master:2 shared:1 - ext3 /dev/root rw",
                true,
            ),
            ("36 35 98:0 /m /m rw master:2 - ext3 /dev/root rw", false),
            ("36 35 98:0 /m /m rw - ext3 shared:1 rw", false),
            ("36 35 98:0 /shared:1 /m rw - ext3 /dev/root rw", false),
            ("", false),
        ] {
            assert_eq!(is_shared(line.as_bytes()), want, "{line}");
        }
    }
}
