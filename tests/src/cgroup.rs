//! A cgroup for each throw-away daemon, as a service manager gives one: a daemon takes what it finds beside
//! itself for leftovers of its own.

use std::fs::{self, OpenOptions};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::place::unique;

/// A cgroup v2 below our own. Goes with its value, once it is empty.
#[derive(Debug)]
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// A new one; `None` where cgroup v2 is not mounted or may not be written.
    #[must_use]
    pub fn new() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
        let mut fields = mounts.lines().map(|line| line.split_whitespace());
        let root = fields.find_map(|mut line| {
            let (_, place, kind) = (line.next()?, line.next()?, line.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(place))
        })?;
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own
            .lines()
            .find_map(|line| line.strip_prefix("0::/"))?
            .to_owned();
        let path = root.join(own).join(format!("test-of-remit-{}", unique()));
        fs::create_dir(&path).ok()?;
        Some(Self(path))
    }

    /// Where a process writes "0" to enter it.
    #[must_use]
    pub fn door(&self) -> Option<OwnedFd> {
        let procs = self.0.join("cgroup.procs");
        OpenOptions::new()
            .write(true)
            .open(procs)
            .ok()
            .map(OwnedFd::from)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// Removes a cgroup with those in it, as far as they are empty.
fn remove(cgroup: &Path) {
    let below = fs::read_dir(cgroup).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove(&entry.path());
    }
    let _ = fs::remove_dir(cgroup);
}
