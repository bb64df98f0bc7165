//! A directory for one test, with the programs that a job may execute. Not in /tmp, /var/tmp or /dev/shm: jobs have
//! private ones, and a world-writable parent is refused.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use remit_common::inspect::{EXTRACT, LOOK};

/// A directory that is removed on drop.
#[derive(Debug)]
pub struct TestDir(PathBuf);

/// Returns a number that no other running test on this machine has.
#[must_use]
pub fn unique() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    (std::process::id() % 65_536) * 1024 + next % 1024
}

/// Returns the first of `count` uids that no other running test on this machine uses.
#[must_use]
pub fn unique_uids(count: u32) -> u32 {
    /// Uids of one test program. They are reused after all were used.
    const ALL: u32 = 8192;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    assert!(count <= ALL / 16, "{count} uids for one test");
    loop {
        let first = NEXT.fetch_add(count, Ordering::Relaxed) % ALL;
        if first + count <= ALL {
            return 1_600_000_000 + std::process::id() % 32_768 * ALL + first;
        }
    }
}

impl TestDir {
    /// Creates an empty directory.
    #[must_use]
    pub fn new() -> Self {
        loop {
            let dir = Path::new("/var/lib").join(format!("remit-test-{}", unique()));
            match fs::create_dir(&dir) {
                // Of a test that was killed.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => {
                    made.expect("root can");
                    return Self::open(&dir);
                }
            }
        }
    }

    /// Creates this directory. Panics if it exists.
    #[must_use]
    pub fn at(dir: &Path) -> Self {
        fs::create_dir(dir).expect("it is not there yet");
        Self::open(dir)
    }

    fn open(dir: &Path) -> Self {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("the directory is ours");
        Self(dir.to_owned())
    }

    /// Returns its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Creates a world-readable directory in it.
    #[must_use]
    pub fn directory(&self, name: &str) -> PathBuf {
        let dir = self.0.join(name);
        fs::create_dir_all(&dir).expect("the directory is ours");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))
            .expect("the directory is ours");
        dir
    }

    /// Installs a built program, executable for every uid. It may be a link: replace it, do not write to it.
    #[must_use]
    pub fn program(&self, built: &Path) -> PathBuf {
        let name = built.file_name().expect("a program has a name");
        let installed = self.directory("bin").join(name);
        // A thousand tests would write 150 MB each.
        if fs::hard_link(copy_of_root(built), &installed).is_err() {
            copy(built, &installed);
        }
        installed
    }
}

/// Returns a copy of a built program that belongs to root, beside it. It is made once for each build.
fn copy_of_root(built: &Path) -> PathBuf {
    let (name, dir) = (built.file_name(), built.parent());
    let dir = dir.expect("a program lies in a directory");
    let copies = dir.join("of-root");
    let made = copies.join(name.expect("a program has a name"));
    let version = |path: &Path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
    };
    if version(&made) != version(built) {
        let _ = fs::create_dir(&copies);
        // Whoever builds can remove it.
        let owner = fs::metadata(dir).map(|metadata| metadata.uid()).ok();
        std::os::unix::fs::chown(&copies, owner, None).expect("we are root");
        // Other tests may do the same now.
        let new = made.with_extension(format!("new-{}", unique()));
        copy(built, &new);
        fs::rename(&new, &made).expect("the directory is ours");
    }
    made
}

/// Copies a program with its time. cp(1) writes the copy: a concurrent fork of another test would inherit the open file,
/// and a file open for writing cannot be executed (execve(2), ETXTBSY).
///
/// # Panics
/// If cp fails.
pub fn copy(program: &Path, to: &Path) {
    let mut cp = Command::new("cp");
    let copied = cp.arg("--preserve=timestamps").args([program, to]).status();
    let is_copied = copied.is_ok_and(|status| status.success());
    assert!(is_copied, "cannot copy '{}'", program.display());
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).expect("the copy is ours");
}

/// Puts the built remit-look where the package has it, in a mount namespace of this test's.
///
/// # Panics
/// If this process is not root.
pub fn install_look() {
    unshare(CloneFlags::CLONE_NEWNS).expect("we are root");
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("we are root");
    let dir = Path::new(LOOK).parent().expect("it is absolute");
    let above = dir.parent().expect("it lies below /usr");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let size = Some("size=64m,mode=755");
    mount(Some("none"), above, Some("tmpfs"), flags, size).expect("the directory exists");
    fs::create_dir(dir).expect("it is ours");
    copy(&built().join("remit-look"), Path::new(LOOK));
    copy(&built().join("remit-extract"), Path::new(EXTRACT));
}

impl Default for TestDir {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns the directory of the running program's build.
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

/// Panics if REMIT_TESTS_MUST_RUN=1, otherwise reports that a test was skipped.
pub fn missing(what: &str) {
    assert!(
        std::env::var_os("REMIT_TESTS_MUST_RUN").is_none_or(|value| value != "1"),
        "{what} is missing and REMIT_TESTS_MUST_RUN=1"
    );
    eprintln!("left out: {what} is missing");
}

/// Returns a file below `dir` that contains `text`. Skips directories named in `but`.
#[must_use]
pub fn holder(dir: &Path, text: &[u8], but: &[&str]) -> Option<String> {
    for entry in fs::read_dir(dir).ok()?.flatten() {
        let path = entry.path();
        let kind = entry.file_type().ok()?;
        if kind.is_dir() {
            let is_spared = but.iter().any(|name| path.ends_with(name));
            if let Some(found) = (!is_spared).then(|| holder(&path, text, but)).flatten() {
                return Some(found);
            }
        } else if kind.is_file() {
            let bytes = fs::read(&path).unwrap_or_default();
            if bytes.windows(text.len()).any(|part| part == text) {
                return Some(path.display().to_string());
            }
        }
    }
    None
}
