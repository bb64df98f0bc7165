//! Whose children jobs, workers and watchdogs are: those of the process that forks them, or those of its parent, the
//! warden, which reaps them and watches their end.

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
    /// Children of this process.
    pub fn own() -> Result<Family> {
        let pid = std::process::id();
        let pidfd = sys::pidfd_open(pid.cast_signed()).doing(|| "cannot open a pidfd".into())?;
        Ok(Family {
            parent: Parent::Caller,
            pid,
            pidfd,
        })
    }

    /// Children of this process's parent, whose pidfd this is.
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
