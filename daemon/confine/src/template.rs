//! A mount namespace kept ready for jobs, slave of the host's.

use crate::{Error, Result};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A template on its way.
#[derive(Debug)]
pub struct Building {
    ready: OwnedFd,
}

impl Building {
    /// Forks the child that builds it.
    pub fn start() -> Result<Building> {
        Err(Error::refused(
            "cannot build a mount template",
            "not built yet",
        ))
    }

    /// Readable when `finish` will not wait.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }

    /// The template.
    pub fn finish(self) -> Result<Template> {
        Err(Error::refused(
            "cannot build a mount template",
            "not built yet",
        ))
    }
}

/// A mount namespace that jobs copy.
#[derive(Debug)]
pub struct Template {
    namespace: OwnedFd,
}

impl Template {
    pub(crate) fn namespace(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }
}
