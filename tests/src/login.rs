//! A cgroup as logind makes one for the logins of a user: it proves who logged in.

use std::fs;
use std::path::PathBuf;

use crate::place::unique;

/// `user.slice/user-UID.slice` of this machine, with a session. What is empty goes with its value.
#[derive(Debug)]
pub struct Slice(PathBuf);

impl Slice {
    /// A session of this user's.
    ///
    /// # Panics
    /// Where cgroup v2 is not mounted or may not be written.
    #[must_use]
    pub fn of(uid: u32) -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").expect("there are mounts");
        let root = mounts.lines().find_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let place = fields.next()?;
            (fields.next()? == "cgroup2").then(|| PathBuf::from(place))
        });
        let root = root.expect("cgroup v2 is mounted");
        let slice = root.join(format!("user.slice/user-{uid}.slice"));
        let scope = slice.join(format!("session-remit-{}.scope", unique()));
        fs::create_dir_all(&scope).expect("it may be made");
        Self(scope)
    }

    /// Where a process writes "0" to enter it.
    #[must_use]
    pub fn procs(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        // The scope, the user's slice and that of all users, where nobody else is in them.
        for dir in self.0.ancestors().take(3) {
            if fs::remove_dir(dir).is_err() {
                return;
            }
        }
    }
}
