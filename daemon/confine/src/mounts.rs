//! Notice of changes to the host's mounts.

use crate::{Error, Result};
use std::{
    fs::File,
    os::fd::{AsFd, BorrowedFd},
};

/// An open `/proc/self/mountinfo`.
#[derive(Debug)]
pub struct MountWatch {
    file: File,
}

impl MountWatch {
    /// Opens it.
    pub fn open() -> Result<MountWatch> {
        Err(Error::refused("cannot watch mounts", "not built yet"))
    }

    /// For epoll, `EPOLLPRI | EPOLLET`: ready when a mount was made, changed or removed.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
