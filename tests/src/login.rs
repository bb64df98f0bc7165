//! A cgroup like logind's for a user's logins. It proves which user logged in.

use std::fs;
use std::path::PathBuf;

use crate::test_dir::unique;

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
