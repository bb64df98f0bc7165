//! Killing all processes of a uid in the jobs' pid namespace: the way without `cgroup.kill`.

use crate::{Error, Keeper, Result};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A kill under way.
#[derive(Debug)]
pub struct Killing {
    answer: OwnedFd,
}

/// Forks a child into the jobs' namespace that, as `uid`, kills all it may until none is left.
pub fn kill_uid(_keeper: &Keeper, _uid: u32) -> Result<Killing> {
    Err(Error::refused("cannot kill", "not built yet"))
}

impl Killing {
    /// Readable when `verified` will not wait.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.answer.as_fd()
    }

    /// Whether no process of the uid was left at the end.
    pub fn verified(self) -> Result<bool> {
        Err(Error::refused("cannot kill", "not built yet"))
    }
}
