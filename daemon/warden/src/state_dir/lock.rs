//! The lock that refuses every run, and the file lock that keeps a second daemon out. Gives the broker the history that the
//! last release kept in the warden's directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

use crate::identity::user_names::Ids;
use crate::startup::error::Fatal;
use crate::state_dir::framed_file::{self, private_file, quarantine};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked {
    pub why: String,
    /// The administrator, and milliseconds since 1970, if the file has them.
    pub by: Option<(String, u64)>,
}

impl Locked {
    /// Parses reason, administrator and time, one per line. A file with any other content is a lock too.
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

/// The state directory, locked for this daemon as long as the value lives.
#[derive(Debug)]
pub struct State {
    dir: PathBuf,
    _held: File,
}

impl State {
    /// Creates and locks `dir` with its subdirectories. Anyone may enter `dir`, only root `warden` and `commits` below it,
    /// and only the broker `spool`, `history` and `uploads`. Fails if another daemon uses it, or if it is not root's alone.
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
        let commits = dir.join("commits");
        private(&commits, Ids { uid: 0, gid: 0 }).map_err(cannot(&commits))?;
        let spool = dir.join("spool");
        private(&spool, broker).map_err(cannot(&spool))?;
        let history = dir.join("history");
        private(&history, broker).map_err(cannot(&history))?;
        let uploads = dir.join("uploads");
        private(&uploads, broker).map_err(cannot(&uploads))?;
        hand_over(&warden, &history, broker);
        Ok(Self {
            dir: dir.to_path_buf(),
            _held: file,
        })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn spool(&self) -> PathBuf {
        self.dir.join("spool")
    }

    pub fn history(&self) -> PathBuf {
        self.dir.join("history")
    }

    pub fn uploads(&self) -> PathBuf {
        self.dir.join("uploads")
    }

    /// Returns the lock, if there is one; it persists across restarts. An error leaves the state unknown.
    pub fn locked(&self) -> io::Result<Option<Locked>> {
        match fs::read_to_string(self.lock_path()) {
            Ok(text) => Ok(Some(Locked::parse(&text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// On an error, the lock would not survive a restart.
    pub fn lock(&self, locked: &Locked) -> io::Result<()> {
        framed_file::replace(&self.lock_path(), locked.text().as_bytes(), true)
    }

    pub fn unlock(&self) -> io::Result<()> {
        match fs::remove_file(self.lock_path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn lock_path(&self) -> PathBuf {
        self.dir.join("warden").join("locked")
    }

    /// Marks that jobs from before a crash of the machine are being taken over: the first record ends what the head says of
    /// the crash, and this start may end before all of them have theirs. Returns whether an earlier start has marked it.
    pub fn mark_crash(&self, went_down: bool) -> io::Result<bool> {
        let path = self.crash_path();
        if went_down {
            File::create(&path)?;
        }
        path.try_exists()
    }

    pub fn unmark_crash(&self) {
        if let Err(error) = fs::remove_file(self.crash_path())
            && error.kind() != io::ErrorKind::NotFound
        {
            say!("cannot remove '{}': {error}", self.crash_path().display());
        }
    }

    fn crash_path(&self) -> PathBuf {
        self.dir.join("warden").join("went-down")
    }
}

/// Locks a file until this process closes any descriptor of it (fcntl_locking(2)). A fork could hold flock(2) longer.
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

/// Creates a directory with mode 0700 for `owner`, or changes an existing one. Refuses a symbolic link.
fn private(path: &Path, owner: Ids) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let dir = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(path)?;
    let before = dir.metadata()?.uid();
    // Also if the directory has its owner already: chown(1) of it alone leaves the files.
    for entry in fs::read_dir(path)? {
        pass_on(&entry?.path(), before, owner)?;
    }
    // Last: a start that is interrupted passes on root's files only while the directory is root's.
    fchown(&dir, Some(owner.uid), Some(owner.gid))?;
    dir.set_permissions(fs::Permissions::from_mode(0o700))
}

/// Gives a file of an earlier owner to `owner`: a restored directory has numbers of another installation. A file of root is
/// left, unless the directory was root's `before`, and a file with a second name. The broker cannot make one of another user's
/// files (link(2)).
fn pass_on(path: &Path, before: u32, owner: Ids) -> io::Result<()> {
    let is_earlier = |uid: u32| uid != owner.uid && (uid == before || uid != 0);
    match path.symlink_metadata() {
        Ok(found) if is_earlier(found.uid()) => {}
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(_) | Err(_) => return Ok(()),
    }
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = match opened {
        Ok(file) => file,
        // A link or a socket.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENXIO)) => {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let meta = file.metadata()?;
    match meta.is_file() && meta.nlink() == 1 && is_earlier(meta.uid()) {
        true => match fchown(&file, Some(owner.uid), Some(owner.gid)) {
            // It is immutable (chattr(1)): the broker says that it cannot be read.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            passed => passed,
        },
        false => Ok(()),
    }
}

/// Checks that only root can replace `dir`; the error names the first directory that fails. Root must own each
/// directory above it, before and after links are resolved. Others may write such a directory only if it has the
/// sticky bit, so they cannot rename root's entries (unlink(2)).
pub fn check_way(dir: &Path) -> Result<(), Fatal> {
    let cannot = |error| {
        Fatal::call(format!(
            "cannot check the parent directories of '{}'",
            dir.display()
        ))(error)
    };
    let real = dir.canonicalize().map_err(cannot)?;
    for above in dir
        .ancestors()
        .chain(real.ancestors())
        .filter(|path| *path != dir)
    {
        let meta = above.metadata().map_err(cannot)?;
        if meta.uid() != 0 || (meta.mode() & 0o022 != 0 && meta.mode() & 0o1000 == 0) {
            return Err(Fatal::Unavailable(format!(
                "cannot use '{}': users other than root can write '{}'",
                dir.display(),
                above.display()
            )));
        }
    }
    Ok(())
}

/// Names in the warden's directory and in the broker's; the older file is first.
const NAMES: [(&str, &str); 2] = [("history-old", "log.1"), ("history", "log.2")];

/// Moves the files, if there are any. The broker checks their content, as that of its own files.
pub fn hand_over(warden: &Path, history: &Path, broker: Ids) {
    let [oldest, (old, new)] = NAMES;
    let changed = |name: &str| history.join(name).symlink_metadata()?.modified();
    // The last release ran once more, for a short time. Of the broker's files it replaces the one that is older.
    let is_short = !warden.join(oldest.0).exists();
    let newest = match is_short && changed(oldest.1).ok() < changed(new).ok() {
        true => (old, oldest.1),
        false => (old, new),
    };
    for (old, new) in [oldest, newest] {
        let (from, to) = (warden.join(old), history.join(new));
        match give(&from, &to, broker) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                say!("cannot take over '{}': {error}", from.display());
            }
            Ok(()) | Err(_) => {}
        }
    }
}

fn give(from: &Path, to: &Path, broker: Ids) -> io::Result<()> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(from)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is not a regular file",
        ));
    }
    // The last release ran once more after this one.
    match quarantine::move_file(to, "a newer history replaces it".to_owned()) {
        Ok(kept_as) => say!("'{}': {}", to.display(), kept_as.describe()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    fchown(&file, Some(broker.uid), Some(broker.gid))?;
    fs::rename(from, to)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn lock_reads_back_and_any_file_locks() {
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

    #[test]
    fn files_of_a_restored_directory_get_its_new_owner() {
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-restored-XXXXXX"));
        let dir = dir.unwrap();
        if dir.metadata().unwrap().uid() != 0 {
            return fs::remove_dir(dir).unwrap();
        }
        let (old, new) = (
            12_345,
            Ids {
                uid: 12_346,
                gid: 0,
            },
        );
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        let names = ["log.1", "linked", "other"];
        for name in names {
            fs::write(dir.join(name), name).unwrap();
        }
        for name in ["", "log.1", "linked"] {
            std::os::unix::fs::chown(dir.join(name), Some(old), None).unwrap();
        }
        let second = dir.with_extension("link");
        fs::hard_link(dir.join("linked"), &second).unwrap();
        symlink(dir.join("other"), dir.join("symbolic")).unwrap();
        private(&dir, new).unwrap();
        let owner = |name| dir.join(name).metadata().unwrap().uid();
        assert_eq!(
            ["", "log.1", "linked", "other"].map(owner),
            [new.uid, new.uid, old, 0]
        );
        // What root restored without owners.
        fs::write(dir.join("log.2"), "").unwrap();
        std::os::unix::fs::chown(&dir, Some(0), None).unwrap();
        private(&dir, new).unwrap();
        assert_eq!(owner("log.2"), new.uid);
        // By chown(1), which gave it back without its files.
        for (name, uid) in [("log.1", old), ("log.2", 0)] {
            std::os::unix::fs::chown(dir.join(name), Some(uid), None).unwrap();
        }
        private(&dir, new).unwrap();
        assert_eq!(["log.1", "log.2", "linked"].map(owner), [new.uid, 0, old]);
        fs::remove_file(second).unwrap();
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn files_are_moved_once_and_nothing_is_overwritten() {
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-handover-XXXXXX"));
        let dir = dir.unwrap();
        let [warden, history] = ["warden", "history"].map(|name| dir.join(name));
        fs::create_dir(&warden).unwrap();
        fs::create_dir(&history).unwrap();
        let own = dir.metadata().unwrap();
        // Only root can give a file to somebody else.
        let uid = if own.uid() == 0 { 12_345 } else { own.uid() };
        let ids = Ids {
            uid,
            gid: own.gid(),
        };
        let read = |name: &str| fs::read_to_string(history.join(name)).ok();
        hand_over(&warden, &history, ids);
        assert_eq!(fs::read_dir(&history).unwrap().count(), 0);

        fs::write(warden.join("history-old"), "older").unwrap();
        fs::write(warden.join("history"), "newer").unwrap();
        hand_over(&warden, &history, ids);
        assert_eq!(read("log.1").as_deref(), Some("older"));
        assert_eq!(read("log.2").as_deref(), Some("newer"));
        assert_eq!(history.join("log.2").metadata().unwrap().uid(), uid);
        assert_eq!(fs::read_dir(&warden).unwrap().count(), 0);

        // Killed between the two files: the other one follows.
        fs::remove_file(history.join("log.2")).unwrap();
        fs::write(warden.join("history"), "newest").unwrap();
        hand_over(&warden, &history, ids);
        assert_eq!(read("log.1").as_deref(), Some("older"));
        assert_eq!(read("log.2").as_deref(), Some("newest"));

        // The broker's own newest entries stay, whichever file has them.
        let second = std::time::Duration::from_secs(1);
        for (older, newer, text) in [("log.1", "log.2", "again"), ("log.2", "log.1", "once more")] {
            let newest = File::open(history.join(newer)).unwrap();
            newest
                .set_modified(std::time::SystemTime::now() + second)
                .unwrap();
            fs::write(warden.join("history"), text).unwrap();
            let kept = read(newer);
            hand_over(&warden, &history, ids);
            assert_eq!(read(older).as_deref(), Some(text));
            assert_eq!(read(newer), kept);
            let past = std::time::SystemTime::now() - 60 * second;
            let newest = File::open(history.join(newer)).unwrap();
            newest.set_modified(past).unwrap();
        }
        assert_eq!(read("log.damaged-1").as_deref(), Some("older"));
        assert_eq!(read("log.damaged-2").as_deref(), Some("newest"));

        symlink("/etc/passwd", warden.join("history")).unwrap();
        fs::create_dir(warden.join("history-old")).unwrap();
        hand_over(&warden, &history, ids);
        assert_eq!(read("log.1").as_deref(), Some("again"));
        assert_eq!(read("log.2").as_deref(), Some("once more"));
        fs::remove_dir_all(dir).unwrap();
    }
}
