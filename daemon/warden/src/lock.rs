//! The lock that refuses everything, and the lock that keeps a second daemon away.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

use crate::accounts::Ids;
use crate::error::Fatal;

/// A lock: why, and who made it when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked {
    /// For those who are refused. One line.
    pub why: String,
    /// The administrator's name, and milliseconds since 1970; where the file tells.
    pub by: Option<(String, u64)>,
}

impl Locked {
    /// As the file has it: a line each for why, who and when. Whatever is in a file there, it is
    /// a lock.
    fn parse(text: &str) -> Self {
        let lines: Vec<&str> = text.lines().collect();
        if let [why, user, at] = lines.as_slice()
            && let Ok(at) = at.parse()
        {
            let by = Some(((*user).to_owned(), at));
            let why = (*why).to_owned();
            return Self { why, by };
        }
        let why = text.trim_end().to_owned();
        Self { why, by: None }
    }

    fn text(&self) -> String {
        match &self.by {
            Some((user, at)) => format!("{}\n{user}\n{at}\n", self.why),
            None => format!("{}\n", self.why),
        }
    }
}

/// The state directory, made and held for as long as this lives.
#[derive(Debug)]
pub struct State {
    dir: PathBuf,
    _held: File,
}

impl State {
    /// Makes `dir` with its parts and takes it for this daemon alone.
    ///
    /// `dir` itself may be entered by anyone, `warden` below it only by root, `spool` only by the broker.
    ///
    /// # Errors
    /// Another daemon has it, it is not root's, or it cannot be made.
    pub fn take(dir: &Path, broker: Ids) -> Result<Self, Fatal> {
        let cannot = |path: &Path| Fatal::call(format!("cannot make '{}'", path.display()));
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(dir)
            .map_err(cannot(dir))?;
        let meta = dir.symlink_metadata().map_err(cannot(dir))?;
        if !meta.is_dir() || meta.uid() != 0 || meta.mode() & 0o022 != 0 {
            return Err(Fatal::Unavailable(format!(
                "cannot use '{}': it must be a directory that only root may write",
                dir.display()
            )));
        }
        check_way(dir)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).map_err(cannot(dir))?;
        let warden = dir.join("warden");
        private(&warden, Ids { uid: 0, gid: 0 }).map_err(cannot(&warden))?;
        let path = warden.join("daemon");
        let file = private_file(&path).map_err(cannot(&path))?;
        hold(&file)
            .map_err(|_| Fatal::Unavailable(format!("another remitd uses '{}'", dir.display())))?;
        let spool = dir.join("spool");
        private(&spool, broker).map_err(cannot(&spool))?;
        Ok(Self {
            dir: dir.to_path_buf(),
            _held: file,
        })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The broker's part of it.
    pub fn spool(&self) -> PathBuf {
        self.dir.join("spool")
    }

    /// The lock, if there is one. It stays so over restarts.
    ///
    /// # Errors
    /// The file is there and cannot be read: locked or not is unknown.
    pub fn locked(&self) -> io::Result<Option<Locked>> {
        match fs::read_to_string(self.lock_path()) {
            Ok(text) => Ok(Some(Locked::parse(&text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Locks.
    ///
    /// # Errors
    /// It cannot be written; the lock would not outlive a restart.
    pub fn lock(&self, locked: &Locked) -> io::Result<()> {
        let new = self.lock_path().with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(locked.text().as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, self.lock_path())?;
        // The name, too, must outlive a power cut.
        File::open(self.dir.join("warden"))?.sync_all()
    }

    /// Unlocks. One that is not locked is as good.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn unlock(&self) -> io::Result<()> {
        match fs::remove_file(self.lock_path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn lock_path(&self) -> PathBuf {
        self.dir.join("warden").join("locked")
    }
}

/// Takes a file for this process alone, until it closes any descriptor of it (F_SETLK, fcntl_locking(2)).
/// Not by flock(2): a child that was just forked would hold that for a moment longer than a daemon
/// that was killed, and keep out the next one.
///
/// # Errors
/// Another process has it.
pub fn hold(file: &File) -> Result<(), Errno> {
    let whole = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_SETLK(&whole)).map(drop)
}

/// Opens a file of the daemon's own, as it is, or makes it for root alone. A link is refused.
pub fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

/// Makes a directory that only `owner` may enter. What is there already becomes so; a link does not.
fn private(path: &Path, owner: Ids) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let dir = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(path)?;
    fchown(&dir, Some(owner.uid), Some(owner.gid))?;
    dir.set_permissions(fs::Permissions::from_mode(0o700))
}

/// Whether nobody but root can put something else in the place of `dir`: every directory on the
/// way to it, links followed or not, is root's, and others may not write it or may not rename
/// what is root's in it (the sticky bit, unlink(2)).
///
/// # Errors
/// Names the first directory that is not so.
pub fn check_way(dir: &Path) -> Result<(), Fatal> {
    let cannot =
        |error| Fatal::call(format!("cannot look at the way to '{}'", dir.display()))(error);
    let real = dir.canonicalize().map_err(cannot)?;
    for above in dir
        .ancestors()
        .chain(real.ancestors())
        .filter(|path| *path != dir)
    {
        let meta = above.metadata().map_err(cannot)?;
        if meta.uid() != 0 || (meta.mode() & 0o022 != 0 && meta.mode() & 0o1000 == 0) {
            return Err(Fatal::Unavailable(format!(
                "cannot use '{}': others than root may write '{}'",
                dir.display(),
                above.display()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_reads_back_and_any_file_is_one() {
        let by = Some(("alice".to_owned(), 1_700_000_000_000));
        for locked in [
            Locked {
                why: "incident 7".into(),
                by,
            },
            Locked {
                why: String::new(),
                by: None,
            },
        ] {
            assert_eq!(Locked::parse(&locked.text()), locked);
        }
        for text in ["by hand", "by hand\n", "by hand\n\n"] {
            let why = "by hand".to_owned();
            assert_eq!(Locked::parse(text), Locked { why, by: None }, "{text:?}");
        }
        assert_eq!(Locked::parse("a\nb\nnow\n").why, "a\nb\nnow");
    }
}
