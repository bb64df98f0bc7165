//! A cgroup for each throw-away daemon, because a daemon takes neighbor cgroups for its own leftovers; and one like
//! logind's for a user's logins, which proves which user logged in.

use std::fs::{self, OpenOptions};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::test_dir::unique;

/// A cgroup v2 below our own. Removed on drop if it is empty.
#[derive(Debug)]
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// Creates one. `None` if cgroup v2 is not mounted or not writable.
    #[must_use]
    pub fn new() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
        let mut fields = mounts.lines().map(|line| line.split_whitespace());
        let root = fields.find_map(|mut line| {
            let (_, mount_point, kind) = (line.next()?, line.next()?, line.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(mount_point))
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

    /// Returns the file in which a process writes "0" to enter.
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

fn remove(cgroup: &Path) {
    let below = fs::read_dir(cgroup).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove(&entry.path());
    }
    let _ = fs::remove_dir(cgroup);
}

/// A session in `user.slice/user-UID.slice` of this machine. Empty cgroups are removed on drop.
#[derive(Debug)]
pub struct Slice(PathBuf);

impl Slice {
    /// Creates a session of this user. Panics if cgroup v2 is not writable.
    #[must_use]
    pub fn of(uid: u32) -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").expect("there are mounts");
        let root = mounts.lines().find_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let mount_point = fields.next()?;
            (fields.next()? == "cgroup2").then(|| PathBuf::from(mount_point))
        });
        let root = root.expect("cgroup v2 is mounted");
        let slice = root.join(format!("user.slice/user-{uid}.slice"));
        let scope = slice.join(format!("session-remit-{}.scope", unique()));
        fs::create_dir_all(&scope).expect("it may be made");
        Self(scope)
    }

    /// Returns the file in which a process writes "0" to enter.
    #[must_use]
    pub fn procs(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        // The scope, the user's slice and the slice of all users, if they are empty.
        for dir in self.0.ancestors().take(3) {
            if fs::remove_dir(dir).is_err() {
                return;
            }
        }
    }
}
