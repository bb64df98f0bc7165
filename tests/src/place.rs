//! A directory for one test, with the programs that a job may execute.
//!
//! Not in /tmp, /var/tmp or /dev/shm: a job has its own of these, and the
//! daemon refuses configuration below directories that others may write in.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Goes with its value.
#[derive(Debug)]
pub struct Place(PathBuf);

/// Numbers that no two tests on this machine share at a time.
#[must_use]
pub fn unique() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    (std::process::id() % 65_536) * 1024 + next % 1024
}

/// The first of so many uids that no other test on this machine uses at a time.
///
/// # Panics
/// When they are too many for one test.
#[must_use]
pub fn unique_uids(count: u32) -> u32 {
    /// Of one test program; they come round again once all were used.
    const ALL: u32 = 8192;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    assert!(count <= ALL / 16, "{count} uids for one test");
    loop {
        let first = NEXT.fetch_add(count, Ordering::Relaxed) % ALL;
        if first + count <= ALL {
            return 1_880_000_000 + std::process::id() % 32_000 * ALL + first;
        }
    }
}

impl Place {
    /// A new, empty directory.
    #[must_use]
    pub fn new() -> Self {
        Self::at(&Path::new("/var/lib").join(format!("remit-test-{}", unique())))
    }

    /// This one, new and empty.
    ///
    /// # Panics
    /// When it is there already, or cannot be made.
    #[must_use]
    pub fn at(dir: &Path) -> Self {
        fs::create_dir(dir).expect("it is not there yet");
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("the directory is ours");
        Self(dir.to_owned())
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A new directory in it, readable by all.
    #[must_use]
    pub fn directory(&self, name: &str) -> PathBuf {
        let dir = self.0.join(name);
        fs::create_dir_all(&dir).expect("the directory is ours");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))
            .expect("the directory is ours");
        dir
    }

    /// A copy of a built program that every uid may execute.
    #[must_use]
    pub fn program(&self, built: &Path) -> PathBuf {
        let copy = self
            .directory("bin")
            .join(built.file_name().expect("a program has a name"));
        // By a process of its own: a test that starts something meanwhile would inherit the open
        // copy, and what is open for writing cannot be executed (execve(2), ETXTBSY).
        let copied = Command::new("cp").arg(built).arg(&copy).status();
        assert!(
            copied.is_ok_and(|status| status.success()),
            "cannot copy '{}'",
            built.display()
        );
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("the copy is ours");
        copy
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The directory of the programs that were built beside the running one.
#[must_use]
pub fn built() -> PathBuf {
    let me = std::env::current_exe().expect("the running program has a path");
    let dir = me.parent().expect("a program lies in a directory");
    if dir.ends_with("deps") {
        dir.parent().unwrap_or(dir).to_owned()
    } else {
        dir.to_owned()
    }
}

/// Fails where everything must run; elsewhere says what was left out.
pub fn missing(what: &str) {
    assert!(
        std::env::var_os("REMIT_TESTS_MUST_RUN").is_none_or(|value| value != "1"),
        "{what} is missing and REMIT_TESTS_MUST_RUN=1"
    );
    eprintln!("left out: {what} is missing");
}
