//! Reads and replaces an authorized_keys file. A reader sees the old or new one: written, synced, then rename(2).

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, fstat};
use nix::unistd::{UnlinkatFlags, fsync, unlinkat};

use crate::enrollment::safe_open::{Dir, Owner, Trust, WalkError, give, what};

const FILE_BYTES: u64 = 1 << 20;

#[derive(Debug)]
pub enum FileError {
    Walk(WalkError),
    /// The file has several hard links, so it may be any file of its owner.
    Links(PathBuf),
    Large(PathBuf),
    Io(&'static str, PathBuf, io::Error),
    Changed(PathBuf),
}

impl From<WalkError> for FileError {
    fn from(error: WalkError) -> Self {
        Self::Walk(error)
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Walk(error) => write!(f, "{error}"),
            Self::Links(path) => {
                write!(
                    f,
                    "'{}' has more than one name (hard links)",
                    path.display()
                )
            }
            Self::Large(path) => write!(f, "'{}' has more than {FILE_BYTES} bytes", path.display()),
            Self::Io(what, path, error) => {
                write!(f, "cannot {what} '{}': {error}", path.display())
            }
            Self::Changed(path) => write!(
                f,
                "'{}' was changed by somebody else meanwhile: look, and try again",
                path.display()
            ),
        }
    }
}

impl std::error::Error for FileError {}

#[derive(Debug)]
pub struct KeyFile {
    dir: Dir,
    name: OsString,
    found: Option<FileStat>,
    text: Vec<u8>,
}

impl KeyFile {
    /// Reads the file `name`, which may be missing. Fails if it is not regular, has more links, or is not trusted.
    pub fn read(dir: Dir, name: OsString, trust: Trust) -> Result<Self, FileError> {
        let path = dir.path().join(&name);
        // O_NONBLOCK: opening a FIFO must not wait for its writer.
        let flags = OFlag::O_RDONLY
            | OFlag::O_NOFOLLOW
            | OFlag::O_NONBLOCK
            | OFlag::O_NOCTTY
            | OFlag::O_CLOEXEC;
        let fd = match openat(dir.fd(), name.as_os_str(), flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => {
                return Ok(Self {
                    dir,
                    name,
                    found: None,
                    text: Vec::new(),
                });
            }
            // A socket returns ENXIO.
            Err(Errno::ELOOP | Errno::ENXIO) => return Err(dir.what_is(&name).into()),
            Err(error) => return Err(WalkError::Call("open", path, error).into()),
        };
        let stat = fstat(&fd).map_err(|error| WalkError::Call("look at", path.clone(), error))?;
        match what(&stat) {
            "a regular file" => {}
            other => return Err(WalkError::Odd(path, other).into()),
        }
        trust.check(&path, &stat)?;
        if stat.st_nlink != 1 {
            return Err(FileError::Links(path));
        }
        let mut text = Vec::new();
        File::from(fd)
            .take(FILE_BYTES + 1)
            .read_to_end(&mut text)
            .map_err(|error| FileError::Io("read", path.clone(), error))?;
        if text.len() as u64 > FILE_BYTES {
            return Err(FileError::Large(path));
        }
        Ok(Self {
            dir,
            name,
            found: Some(stat),
            text,
        })
    }

    pub fn text(&self) -> &[u8] {
        &self.text
    }

    pub fn is_there(&self) -> bool {
        self.found.is_some()
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join(&self.name)
    }

    /// Replaces the file, which keeps owner and mode; a new one gets these. Fails if it was changed meanwhile.
    pub fn replace(&self, text: &[u8], owner: Owner, mode: u32) -> Result<(), FileError> {
        let (owner, mode) = self.found.map_or((owner, mode), |stat| {
            let owner = Owner {
                uid: stat.st_uid,
                gid: stat.st_gid,
            };
            (owner, stat.st_mode & 0o777)
        });
        let mut new = OsString::from(".");
        new.push(&self.name);
        new.push(".remit-new");
        let written = self
            .write(&new, text, owner, mode)
            .and_then(|()| self.is_as_read())
            .and_then(|()| {
                renameat(
                    self.dir.fd(),
                    new.as_os_str(),
                    self.dir.fd(),
                    self.name.as_os_str(),
                )
                .map_err(|error| FileError::Io("replace", self.path(), error.into()))
            });
        if written.is_err() {
            let _ = unlinkat(self.dir.fd(), new.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
        written?;
        self.sync()
    }

    fn write(&self, new: &OsStr, text: &[u8], owner: Owner, mode: u32) -> Result<(), FileError> {
        let failed = |error: io::Error| FileError::Io("write", self.dir.path().join(new), error);
        // An interrupted run may have left this file.
        match unlinkat(self.dir.fd(), new, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(error) => return Err(failed(error.into())),
        }
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(self.dir.fd(), new, flags, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|error| failed(error.into()))?;
        let mut file = File::from(fd);
        give(&file, owner, mode).map_err(|error| failed(error.into()))?;
        file.write_all(text).map_err(failed)?;
        file.sync_all().map_err(failed)
    }

    pub fn remove(&self) -> Result<(), FileError> {
        self.is_as_read()?;
        if self.found.is_some() {
            unlinkat(
                self.dir.fd(),
                self.name.as_os_str(),
                UnlinkatFlags::NoRemoveDir,
            )
            .map_err(|error| FileError::Io("remove", self.path(), error.into()))?;
        }
        self.sync()
    }

    fn is_as_read(&self) -> Result<(), FileError> {
        let mark = |stat: &FileStat| {
            let changed = (stat.st_ctime, stat.st_ctime_nsec);
            (stat.st_dev, stat.st_ino, stat.st_size, changed)
        };
        let now = self.dir.stat_of(&self.name)?;
        match now.as_ref().map(mark) == self.found.as_ref().map(mark) {
            true => Ok(()),
            false => Err(FileError::Changed(self.path())),
        }
    }

    fn sync(&self) -> Result<(), FileError> {
        let path = || self.dir.path().to_owned();
        fsync(self.dir.fd()).map_err(|error| FileError::Io("sync", path(), error.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, chown, symlink};
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::enrollment::safe_open::Absent;
    use crate::enrollment::safe_open::tests::{AGENT, Stage};

    fn read(stage: &Stage) -> Result<KeyFile, FileError> {
        let (dir, name, _) = stage.way(&stage.keys(), Absent::Make(AGENT, 0o700))?;
        let home = stage.home();
        let trust = Trust {
            home: &home,
            uid: AGENT.uid,
        };
        KeyFile::read(dir, name, trust)
    }

    fn staged(text: &str) -> Stage {
        let stage = Stage::new();
        fs::create_dir(stage.home().join(".ssh")).unwrap();
        fs::write(stage.keys(), text).unwrap();
        stage
    }

    fn names(stage: &Stage) -> Vec<String> {
        let entries = fs::read_dir(stage.home().join(".ssh")).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn new_file_gets_requested_owner_and_mode() {
        let stage = Stage::new();
        let file = read(&stage).unwrap();
        assert!(!file.is_there() && file.text().is_empty());
        file.replace(b"x\n", AGENT, 0o600).unwrap();
        let seen = fs::metadata(stage.keys()).unwrap();
        assert_eq!((seen.uid(), seen.mode() & 0o7777), (AGENT.uid, 0o600));
        assert_eq!(fs::read(stage.keys()).unwrap(), b"x\n");
        assert_eq!(names(&stage), ["authorized_keys"]);
    }

    #[test]
    fn existing_file_keeps_owner_and_mode() {
        let stage = staged("old");
        chown(stage.keys(), Some(AGENT.uid), Some(60_150)).unwrap();
        stage.mode("home/.ssh/authorized_keys", 0o640);
        // An interrupted run left a file here, possibly a hostile one.
        symlink(
            "/nonexistent",
            stage.keys().with_file_name(".authorized_keys.remit-new"),
        )
        .unwrap();
        let file = read(&stage).unwrap();
        assert_eq!(file.text(), b"old");
        file.replace(b"new", Owner::ROOT, 0o644).unwrap();
        let seen = fs::metadata(stage.keys()).unwrap();
        assert_eq!(
            (seen.uid(), seen.gid(), seen.mode() & 0o7777),
            (AGENT.uid, 60_150, 0o640)
        );
        assert_eq!(fs::read(stage.keys()).unwrap(), b"new");
        assert_eq!(names(&stage), ["authorized_keys"]);
        read(&stage).unwrap().remove().unwrap();
        assert_eq!(names(&stage), [""; 0]);
    }

    #[test]
    fn what_is_no_plain_file_is_refused() {
        let secret = Stage::new();
        fs::write(secret.0.join("secret"), "secret").unwrap();
        let target = secret.0.join("secret");
        type Prepare<'a> = &'a dyn Fn(&Path);
        let cases: [(&str, Prepare); 7] = [
            ("is a symbolic link", &|keys| {
                symlink(&target, keys).unwrap()
            }),
            ("is a symbolic link", &|keys| {
                symlink("/nonexistent", keys).unwrap();
            }),
            ("is a directory", &|keys| fs::create_dir(keys).unwrap()),
            ("is a pipe", &|keys| {
                nix::unistd::mkfifo(keys, Mode::S_IRWXU).unwrap();
            }),
            ("is a socket", &|keys| {
                std::os::unix::net::UnixListener::bind(keys).unwrap();
            }),
            ("more than one name", &|keys| {
                fs::hard_link(&target, keys).unwrap()
            }),
            ("has more than", &|keys| {
                fs::write(keys, vec![b'#'; FILE_BYTES as usize + 1]).unwrap();
            }),
        ];
        for (reason, prepare) in cases {
            let stage = Stage::new();
            fs::create_dir(stage.home().join(".ssh")).unwrap();
            prepare(&stage.keys());
            let said = read(&stage).unwrap_err().to_string();
            assert!(said.contains(reason), "{said} for {reason}");
            assert_eq!(fs::read(&target).unwrap(), b"secret");
        }
    }

    #[test]
    fn a_file_of_others_is_refused() {
        let stage = staged("x");
        stage.mode("home/.ssh/authorized_keys", 0o620);
        assert!(read(&stage).unwrap_err().to_string().contains("0620"));
        stage.mode("home/.ssh/authorized_keys", 0o600);
        chown(stage.keys(), Some(60_102), None).unwrap();
        let said = read(&stage).unwrap_err().to_string();
        assert!(said.ends_with("belongs to uid 60102"), "{said}");
    }

    #[test]
    fn a_change_meanwhile_is_not_undone() {
        for there in [true, false] {
            let stage = staged("old");
            if !there {
                fs::remove_file(stage.keys()).unwrap();
            }
            let file = read(&stage).unwrap();
            fs::write(stage.keys(), "theirs").unwrap();
            let error = file.replace(b"ours", AGENT, 0o600).unwrap_err();
            assert!(matches!(error, FileError::Changed(_)), "{error}");
            assert!(matches!(file.remove(), Err(FileError::Changed(_))));
            assert_eq!(fs::read(stage.keys()).unwrap(), b"theirs");
            assert_eq!(names(&stage), ["authorized_keys"]);
        }
    }

    /// The user swaps `.ssh` for a link to root's directory and back while root writes. That must never change.
    #[test]
    fn a_directory_that_is_swapped_leads_nowhere() {
        let stage = staged("");
        let target = stage.0.join("etc");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("authorized_keys"), "root's").unwrap();
        let (ssh, away) = (stage.home().join(".ssh"), stage.home().join("away"));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    fs::rename(&ssh, &away).unwrap();
                    symlink(&target, &ssh).unwrap();
                    fs::remove_file(&ssh).unwrap();
                    fs::rename(&away, &ssh).unwrap();
                }
            });
            let (mut written, mut refused) = (0, 0);
            // Runs until both outcomes occurred, as proof of a race.
            for _ in 0..200_000 {
                let (dir, name) = match stage.way(&stage.keys(), Absent::Refuse) {
                    Ok((dir, name, _)) => (dir, name),
                    Err(_) => {
                        refused += 1;
                        continue;
                    }
                };
                let home = stage.home();
                let trust = Trust {
                    home: &home,
                    uid: AGENT.uid,
                };
                let file = KeyFile::read(dir, name, trust).unwrap();
                file.replace(b"ours", AGENT, 0o600).unwrap();
                written += 1;
                if written > 50 && refused > 50 {
                    break;
                }
            }
            done.store(true, Ordering::Relaxed);
            assert!(written > 0 && refused > 0, "{written} {refused}");
        });
        assert_eq!(fs::read(target.join("authorized_keys")).unwrap(), b"root's");
        assert_eq!(fs::read_dir(&target).unwrap().count(), 1);
    }
}
