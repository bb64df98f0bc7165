//! Notice of changes to the host's mounts.

use crate::error::{Doing, Result};
use std::{
    fs::File,
    os::fd::{AsFd, BorrowedFd},
};

/// An open mountinfo of the calling thread. proc_pid_mountinfo(5): polling it tells changes, each once.
#[derive(Debug)]
pub struct MountWatch {
    file: File,
}

impl MountWatch {
    /// Opens it; changes from here on are told.
    pub fn open() -> Result<MountWatch> {
        let path = "/proc/thread-self/mountinfo";
        let file = File::open(path).doing(|| format!("cannot open '{path}'"))?;
        Ok(MountWatch { file })
    }

    /// For epoll, `EPOLLPRI | EPOLLET`: ready when a mount was made, changed or removed.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
