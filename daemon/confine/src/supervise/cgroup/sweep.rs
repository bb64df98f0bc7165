//! Ends and removes what daemons of the same name have left in a cgroup.

use super::{Switch, kill, of_jobs, unusable};
use crate::error::Result;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::{
    fs::{self, File},
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Time in which killed processes must be gone. What hangs longer is swept at a later start.
const ENDING: Duration = Duration::from_secs(2);

/// Kills and removes what earlier daemons of this name have left in `base`. Spares a live one: it holds a lock on the
/// switch. Releases before 2.1 had a cgroup for each job in `base` itself, of mode 0700 and locked.
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
