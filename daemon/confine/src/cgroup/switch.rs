//! The switch that ends all processes in a directory of cgroups, and the lock that says whose it is.

use super::MAKING;
use crate::error::{Doing, Error, Result};
use crate::floor;
use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

/// `cgroup.kill` of a directory of cgroups: it ends all processes of all jobs in it.
#[derive(Debug)]
pub struct Switch(File);

impl Switch {
    /// What is written to it.
    pub(crate) const PULL: &[u8] = b"1";

    pub(super) fn of(directory: &Path) -> io::Result<Switch> {
        let file = directory.join("cgroup.kill");
        OpenOptions::new().write(true).open(file).map(Switch)
    }

    /// The lock on it; none where somebody has it.
    pub(super) fn lock(directory: &Path) -> io::Result<File> {
        let Switch(file) = Switch::of(directory)?;
        file.try_lock().map_err(io::Error::from)?;
        Ok(file)
    }

    /// Ends every process in there, and what they fork meanwhile.
    ///
    /// # Errors
    /// The directory is gone.
    pub fn pull(&self) -> io::Result<()> {
        floor::write(self.0.as_fd(), Self::PULL).map(drop)
    }
}

impl AsFd for Switch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The switch of a new directory, and the lock on it; `None` where another daemon, which starts too, has taken it for a
/// leftover before it was locked.
pub(super) fn switch(directory: &Path) -> Result<Option<(Switch, File)>> {
    let switch = match Switch::of(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            if !directory.exists() {
                return Ok(None);
            }
            return Err(Error::refused(
                MAKING,
                "this kernel has no cgroup.kill, which ends a job: Linux 5.14 or newer has",
            ));
        }
        opened => opened,
    };
    let doing = || format!("cannot lock '{}/cgroup.kill'", directory.display());
    let switch = switch.doing(doing)?;
    match Switch::lock(directory) {
        // Whoever sweeps holds the lock until the directory is gone.
        Ok(lock) => Ok(directory.exists().then_some((switch, lock))),
        Err(e) if [io::ErrorKind::NotFound, io::ErrorKind::WouldBlock].contains(&e.kind()) => {
            Ok(None)
        }
        Err(e) => Err(e).doing(doing),
    }
}

/// Ends all that is in a cgroup.
pub(super) fn kill(path: &Path) -> io::Result<()> {
    Switch::of(path)?.pull()
}
