//! Whose children jobs, workers and watchdogs are: of the process that forks them, or of its parent, the reaping warden.

use crate::sys::{self, ForkCall, Parent};
use remit_sys::{Doing, Result};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

#[derive(Debug)]
pub struct Family {
    parent: Parent,
    pid: u32,
    pidfd: OwnedFd,
}

impl Family {
    pub fn own() -> Result<Family> {
        let pid = std::process::id();
        let pidfd = sys::pidfd_open(pid.cast_signed()).doing(|| "cannot open a pidfd".into())?;
        Ok(Family {
            parent: Parent::Caller,
            pid,
            pidfd,
        })
    }

    pub fn of_parent(pidfd: OwnedFd) -> Family {
        Family {
            parent: Parent::Callers,
            pid: sys::parent(),
            pidfd,
        }
    }

    /// The process whose end is the end of all.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn fork(
        &self,
        call: ForkCall,
        cgroup: Option<BorrowedFd<'_>>,
        child: impl FnOnce() -> i32,
    ) -> io::Result<(i32, OwnedFd)> {
        sys::fork_as(call, cgroup, self.parent, child)
    }
}

pub mod shutdown {
    //! Ends workers and what they have forked. Only their parent reaps them: see [`gone`].

    use crate::sys;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::{cell::RefCell, os::fd::BorrowedFd};

    /// Milliseconds in which a killed process must end, before it is left to end by itself.
    const ENDING_MS: u16 = 100;
    thread_local! {
        static GONE: RefCell<Vec<i32>> = const { RefCell::new(Vec::new()) };
    }

    /// Returns the children that were ended since the last call, for their parent to reap. A few may not have ended yet.
    pub fn gone() -> Vec<i32> {
        GONE.take()
    }

    /// Leaves a child, which has ended or is ending, to its parent.
    pub(crate) fn leave(pid: i32) {
        GONE.with_borrow_mut(|gone| gone.push(pid));
    }

    pub(in crate::spawner) fn end(pid: i32, pidfd: BorrowedFd<'_>) {
        let _ = sys::pidfd_send_signal(pidfd, libc::SIGKILL);
        let mut ended = [PollFd::new(pidfd, PollFlags::POLLIN)];
        let _ = poll(&mut ended, PollTimeout::from(ENDING_MS));
        leave(pid);
    }
}
