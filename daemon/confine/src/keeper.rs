//! The jobs' pid namespace and its init.

use crate::{Error, Result};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The init of the jobs' pid namespace. When it dies the kernel kills every job; then make
/// another one.
#[derive(Debug)]
pub struct Keeper {
    pid: i32,
    pidfd: OwnedFd,
}

impl Keeper {
    /// Forks the keeper under `uid` and `gid`.
    pub fn start(_uid: u32, _gid: u32) -> Result<Keeper> {
        Err(Error::refused("cannot start the keeper", "not built yet"))
    }

    /// Readable when the keeper has died.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Its pid, as the warden sees it.
    pub fn pid(&self) -> i32 {
        self.pid
    }
}
