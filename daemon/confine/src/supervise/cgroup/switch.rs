//! The switch that ends all processes in a directory of cgroups, and the lock that shows its owner.

use super::MAKING;
use crate::error::{Doing, Error, Result};
use crate::sys;
use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

#[derive(Debug)]
pub struct Switch(File);

impl Switch {
    pub(crate) const PULL: &[u8] = b"1";

    pub(super) fn open(directory: &Path) -> io::Result<Switch> {
        let file = directory.join("cgroup.kill");
        OpenOptions::new().write(true).open(file).map(Switch)
    }

    pub(super) fn lock(directory: &Path) -> io::Result<File> {
        let Switch(file) = Switch::open(directory)?;
        file.try_lock().map_err(io::Error::from)?;
        Ok(file)
    }

    /// Ends every process in there, and what they fork meanwhile. Fails if the directory is gone.
    pub fn pull(&self) -> io::Result<()> {
        sys::write(self.0.as_fd(), Self::PULL).map(drop)
    }
}

impl AsFd for Switch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Returns the switch of a new directory, and its lock. `None`: another starting daemon took it for a leftover.
pub(super) fn switch(directory: &Path) -> Result<Option<(Switch, File)>> {
    let switch = match Switch::open(directory) {
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
        // A daemon that sweeps holds the lock until the directory is gone.
        Ok(lock) => Ok(directory.exists().then_some((switch, lock))),
        Err(e) if [io::ErrorKind::NotFound, io::ErrorKind::WouldBlock].contains(&e.kind()) => {
            Ok(None)
        }
        Err(e) => Err(e).doing(doing),
    }
}

pub(super) fn kill(path: &Path) -> io::Result<()> {
    Switch::open(path)?.pull()
}
