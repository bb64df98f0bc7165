//! Changes of the host's mounts, as the kernel reports them: poll(2) on `/proc/self/mountinfo`, proc_pid_mountinfo(5).

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::sys;

/// Of the mount namespace that a process was in when it made this.
#[derive(Debug)]
pub(crate) struct Changes(OwnedFd);

impl Changes {
    pub(crate) fn here() -> io::Result<Changes> {
        sys::open(c"/proc/self/mountinfo", libc::O_RDONLY).map(Changes)
    }

    /// Returns true if there was a change since the last call, or since this was made.
    pub(crate) fn any(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLPRI)];
        Ok(poll(&mut fds, PollTimeout::ZERO)? > 0)
    }

    pub(crate) fn table(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }
}
