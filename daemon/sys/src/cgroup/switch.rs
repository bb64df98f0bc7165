//! The switch that ends all in a directory of cgroups, its lock, and the sweep of what daemons of the name left.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{Doing, Error, Result};
use crate::sys;

pub(super) const MAKING: &str = "cannot make cgroups for jobs";

#[derive(Debug)]
pub struct Switch(File);

impl Switch {
    pub const PULL: &[u8] = b"1";

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

/// Time in which killed processes must be gone. What hangs longer is swept at a later start.
const ENDING: Duration = Duration::from_secs(2);

/// Kills and removes what earlier daemons of this name have left in `base`. Spares a live one: it holds a lock on the
/// switch. Release 0.1.0 had a cgroup for each job in `base` itself, of mode 0700 and locked.
pub(super) fn leftovers(base: &Path, name: &str) -> Result<()> {
    let (new, old) = (of_jobs(name), format!("{name}-"));
    for path in below(base).map_err(|error| unusable(base, "read", &error))? {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.unwrap_or_default();
        let lock = match name.strip_prefix(&old) {
            // A kernel without a switch never had jobs in there.
            None if name.starts_with(&new) => Switch::lock(&path).ok(),
            None | Some("daemon") => None,
            Some(_) => File::open(&path).ok().filter(|dir| dir.try_lock().is_ok()),
        };
        if let Some(_held) = lock {
            let _ = kill(&path);
            wait_empty(&path);
            let _ = remove(&path);
        }
    }
    Ok(())
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    for child in below(path)? {
        let _ = remove(&child);
    }
    fs::remove_dir(path)
}

fn below(path: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(path)?;
    let is_dir = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    Ok(entries
        .filter_map(io::Result::ok)
        .filter(is_dir)
        .map(|entry| entry.path())
        .collect())
}

fn wait_empty(path: &Path) {
    let start = Instant::now();
    // Opened again each time: a change since then ends the wait.
    while let Ok(events) = File::open(path.join("cgroup.events"))
        && let Ok(text) = io::read_to_string(&events)
        && text.lines().any(|line| line == "populated 1")
        && start.elapsed() < ENDING
    {
        let left = ENDING.saturating_sub(start.elapsed());
        let patience = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        let _ = poll(
            &mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)],
            patience,
        );
    }
}

pub(super) fn unusable(base: &Path, how: &str, error: &io::Error) -> Error {
    Error::refused(
        MAKING,
        format!(
            "'{}' cannot be {how} ({error}); start remitd as a service with Delegate=yes, or give its \
             container a cgroup v2 that it may write",
            base.display()
        ),
    )
}

/// Returns the prefix of all daemons' job directories. Daemons of release 0.1.0 must not take them for their own.
pub(super) fn of_jobs(name: &str) -> String {
    format!("jobs-of-{name}-")
}
