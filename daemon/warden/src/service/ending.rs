//! Killed processes that have not ended: a thread of them hangs in the kernel, for example at a pipe that a job keeps locked.

use std::os::fd::{AsFd, OwnedFd};

use remit_sys::sys;

/// At this limit no further process is started in place of one that does not end.
const MOST: usize = 8;

#[derive(Debug, Default)]
pub struct EndingProcesses(Vec<(i32, OwnedFd)>);

impl EndingProcesses {
    pub fn push(&mut self, pid: i32, pidfd: OwnedFd) {
        self.0.push((pid, pidfd));
    }

    /// Reaps those that have ended.
    pub fn reap(&mut self) {
        self.0.retain(|(pid, pidfd)| !has_ended(*pid, pidfd));
    }

    pub fn is_full(&self) -> bool {
        self.0.len() >= MOST
    }
}

/// Reaps a child that has ended.
pub fn has_ended(pid: i32, pidfd: &OwnedFd) -> bool {
    sys::reap(pid).is_some() || !is_alive(pidfd)
}

pub fn is_alive(pidfd: &OwnedFd) -> bool {
    sys::pidfd_alive(pidfd.as_fd()).unwrap_or(false)
}
