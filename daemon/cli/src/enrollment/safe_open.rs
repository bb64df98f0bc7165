//! Opens a path inside a directory of an untrusted user, one component at a time. The user may put links, FIFOs or
//! other users' files there, even while root reads. So each step opens one name below an open directory, follows no
//! symbolic link, and checks the opened file, not the name (openat(2), path_resolution(7)).

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, fchown};

#[derive(Debug)]
pub enum WalkError {
    Call(&'static str, PathBuf, Errno),
    Missing(PathBuf),
    Odd(PathBuf, &'static str),
    Owner(PathBuf, u32),
    Writable(PathBuf, u32),
}

impl fmt::Display for WalkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(what, path, error) => {
                write!(f, "cannot {what} '{}': {}", path.display(), error.desc())
            }
            Self::Missing(path) => write!(f, "'{}' is not there", path.display()),
            Self::Odd(path, what) => write!(f, "'{}' is {what}", path.display()),
            Self::Owner(path, uid) => {
                write!(f, "'{}' belongs to uid {uid}", path.display())
            }
            Self::Writable(path, mode) => write!(
                f,
                "'{}' is writable by its group or others (mode {:04o})",
                path.display(),
                mode & 0o7777
            ),
        }
    }
}

impl std::error::Error for WalkError {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

impl Owner {
    pub const ROOT: Self = Self { uid: 0, gid: 0 };
}

#[derive(Clone, Copy, Debug)]
pub struct Trust<'a> {
    /// From here on down `uid` is trusted too; above it only root.
    pub home: &'a Path,
    pub uid: u32,
}

impl Trust<'_> {
    pub fn check(&self, path: &Path, stat: &FileStat) -> Result<(), WalkError> {
        let may = stat.st_uid == 0 || path.starts_with(self.home) && stat.st_uid == self.uid;
        if !may {
            return Err(WalkError::Owner(path.to_owned(), stat.st_uid));
        }
        if stat.st_mode & 0o022 != 0 {
            return Err(WalkError::Writable(path.to_owned(), stat.st_mode));
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Absent {
    Refuse,
    Make(Owner, u32),
}

#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    pub fn root() -> Result<Self, WalkError> {
        Self::base(Path::new("/"))
    }

    /// Opens a directory that is trusted without a check: `/`, or another one in tests.
    fn base(path: &Path) -> Result<Self, WalkError> {
        let fd = File::open(path).map_err(|error| {
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
            WalkError::Call("open", path.to_owned(), errno)
        })?;
        Ok(Self {
            fd: fd.into(),
            path: path.to_owned(),
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn fd(&self) -> impl AsFd + '_ {
        self.fd.as_fd()
    }

    /// Opens the parent directory of `path`, which must be absolute and without dots. Returns it with the last name
    /// and the directories that were made. Fails if a component is missing, not a directory, or not trusted.
    pub fn of(
        path: &Path,
        trust: Trust,
        absent: Absent,
    ) -> Result<(Self, OsString, Vec<PathBuf>), WalkError> {
        Self::root()?.down(path, trust, absent)
    }

    fn down(
        mut self,
        path: &Path,
        trust: Trust,
        absent: Absent,
    ) -> Result<(Self, OsString, Vec<PathBuf>), WalkError> {
        let odd = |what| WalkError::Odd(path.to_owned(), what);
        let below = path
            .strip_prefix(&self.path)
            .map_err(|_| odd("no absolute path"))?;
        let mut names = Vec::new();
        for component in below.components() {
            match component {
                Component::Normal(name) => names.push(name),
                _ => return Err(odd("no path without dots")),
            }
        }
        let name = names.pop().ok_or_else(|| odd("the root directory"))?;
        let mut made = Vec::new();
        for step in names {
            let next = self.path.join(step);
            self = match self.enter(step, trust) {
                Err(WalkError::Missing(_)) if next.starts_with(trust.home) => match absent {
                    Absent::Refuse => return Err(WalkError::Missing(next)),
                    Absent::Make(owner, mode) => {
                        let dir = self.make(step, owner, mode, trust)?;
                        made.push(next);
                        dir
                    }
                },
                entered => entered?,
            };
        }
        Ok((self, name.to_owned(), made))
    }

    pub fn enter(&self, name: &OsStr, trust: Trust) -> Result<Self, WalkError> {
        let path = self.path.join(name);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Err(WalkError::Missing(path)),
            Err(Errno::ENOTDIR | Errno::ELOOP) => return Err(self.what_is(name)),
            Err(error) => return Err(WalkError::Call("open", path, error)),
        };
        let dir = Self { fd, path };
        trust.check(&dir.path, &dir.stat()?)?;
        Ok(dir)
    }

    fn make(&self, name: &OsStr, owner: Owner, mode: u32, trust: Trust) -> Result<Self, WalkError> {
        let path = self.path.join(name);
        // Only root has access until owner and mode are set.
        mkdirat(&self.fd, name, Mode::S_IRWXU)
            .map_err(|error| WalkError::Call("make", path, error))?;
        let dir = self.enter(name, trust)?;
        dir.give(owner, mode)?;
        Ok(dir)
    }

    pub fn give(&self, owner: Owner, mode: u32) -> Result<(), WalkError> {
        give(&self.fd, owner, mode)
            .map_err(|error| WalkError::Call("set the owner and mode of", self.path.clone(), error))
    }

    pub fn stat(&self) -> Result<FileStat, WalkError> {
        fstat(&self.fd).map_err(|error| WalkError::Call("look at", self.path.clone(), error))
    }

    pub fn stat_of(&self, name: &OsStr) -> Result<Option<FileStat>, WalkError> {
        match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(WalkError::Call("look at", self.path.join(name), error)),
        }
    }

    pub fn what_is(&self, name: &OsStr) -> WalkError {
        let kind = self.stat_of(name).ok().flatten();
        WalkError::Odd(
            self.path.join(name),
            kind.map_or("gone", |stat| what(&stat)),
        )
    }
}

pub fn what(stat: &FileStat) -> &'static str {
    match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFLNK => "a symbolic link",
        SFlag::S_IFDIR => "a directory",
        SFlag::S_IFREG => "a regular file",
        SFlag::S_IFIFO => "a pipe",
        SFlag::S_IFSOCK => "a socket",
        _ => "a device",
    }
}

pub fn give(fd: impl AsFd, owner: Owner, mode: u32) -> Result<(), Errno> {
    fchown(
        fd.as_fd(),
        Some(Uid::from_raw(owner.uid)),
        Some(Gid::from_raw(owner.gid)),
    )?;
    // fchmod comes after fchown, because a change of owner clears bits (chown(2)).
    nix::sys::stat::fchmod(fd, Mode::from_bits_truncate(mode))
}

#[cfg(test)]
pub mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

    use super::*;

    pub const AGENT: Owner = Owner {
        uid: 60_101,
        gid: 60_101,
    };

    pub struct Stage(pub PathBuf);

    impl Stage {
        pub fn new() -> Self {
            let mut template = std::env::temp_dir()
                .join("remit-walk-XXXXXX")
                .into_os_string();
            template.push("");
            let stage = Self(nix::unistd::mkdtemp(Path::new(&template)).unwrap());
            fs::create_dir(stage.home()).unwrap();
            chown(stage.home(), Some(AGENT.uid), Some(AGENT.gid)).unwrap();
            stage
        }

        pub fn home(&self) -> PathBuf {
            self.0.join("home")
        }

        pub fn keys(&self) -> PathBuf {
            self.0.join("home/.ssh/authorized_keys")
        }

        pub fn way(
            &self,
            path: &Path,
            absent: Absent,
        ) -> Result<(Dir, OsString, Vec<PathBuf>), WalkError> {
            let home = self.home();
            let trust = Trust {
                home: &home,
                uid: AGENT.uid,
            };
            Dir::base(&self.0)?.down(path, trust, absent)
        }

        pub fn mode(&self, below: &str, mode: u32) {
            fs::set_permissions(self.0.join(below), Permissions::from_mode(mode)).unwrap();
        }
    }

    impl Drop for Stage {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn refused(stage: &Stage, path: &Path) -> String {
        stage.way(path, Absent::Refuse).unwrap_err().to_string()
    }

    #[test]
    fn missing_directories_are_made_in_the_home_alone() {
        let stage = Stage::new();
        let make = Absent::Make(AGENT, 0o700);
        let (dir, name, made) = stage.way(&stage.keys(), make).unwrap();
        let ssh = stage.home().join(".ssh");
        assert_eq!(
            (dir.path(), name.to_str()),
            (&*ssh, Some("authorized_keys"))
        );
        assert_eq!(made, std::slice::from_ref(&ssh));
        let seen = fs::metadata(&ssh).unwrap();
        assert_eq!((seen.uid(), seen.mode() & 0o7777), (AGENT.uid, 0o700));

        let outside = stage.0.join("etc/keys/agent");
        let error = stage.way(&outside, make).unwrap_err();
        assert!(matches!(error, WalkError::Missing(_)), "{error}");
        assert!(!stage.0.join("etc").exists());
    }

    #[test]
    fn an_odd_way_is_refused() {
        let other_stage = Stage::new();
        fs::create_dir(other_stage.home().join(".ssh")).unwrap();
        type Prepare<'a> = &'a dyn Fn(&Stage);
        let cases: [(&str, Prepare); 8] = [
            ("is a symbolic link", &|stage| {
                fs::remove_dir(stage.home()).unwrap();
                symlink(other_stage.home(), stage.home()).unwrap();
            }),
            ("is a symbolic link", &|stage| {
                symlink(other_stage.home().join(".ssh"), stage.home().join(".ssh")).unwrap();
            }),
            ("is a symbolic link", &|stage| {
                symlink("/nonexistent", stage.home().join(".ssh")).unwrap();
            }),
            ("is a regular file", &|stage| {
                fs::write(stage.home().join(".ssh"), "").unwrap();
            }),
            ("is not there", &|_| ()),
            ("belongs to uid 60102", &|stage| {
                chown(stage.home(), Some(60_102), None).unwrap();
            }),
            ("(mode 0775)", &|stage| stage.mode("home", 0o775)),
            ("(mode 1777)", &|stage| stage.mode("home", 0o1777)),
        ];
        for (reason, prepare) in cases {
            let stage = Stage::new();
            prepare(&stage);
            let said = refused(&stage, &stage.keys());
            assert!(said.contains(reason), "{said} for {reason}");
        }
    }

    #[test]
    fn a_home_of_roots_own_is_trusted() {
        let stage = Stage::new();
        chown(stage.home(), Some(0), Some(0)).unwrap();
        fs::create_dir(stage.home().join(".ssh")).unwrap();
        stage.way(&stage.keys(), Absent::Refuse).unwrap();
    }

    #[test]
    fn the_user_owns_nothing_above_the_home() {
        let stage = Stage::new();
        fs::create_dir(stage.0.join("keys")).unwrap();
        let path = stage.0.join("keys/agent");
        stage.way(&path, Absent::Refuse).unwrap();
        chown(stage.0.join("keys"), Some(AGENT.uid), None).unwrap();
        assert!(refused(&stage, &path).ends_with("belongs to uid 60101"));
    }

    #[test]
    fn a_path_must_be_plain() {
        let stage = Stage::new();
        for path in [
            "home/.ssh/x",
            "/home",
            &format!("{}/home/../x", stage.0.display()),
        ] {
            let said = refused(&stage, Path::new(path));
            assert!(said.contains("is no "), "{path}: {said}");
        }
        assert!(refused(&stage, &stage.0).contains("the root directory"));
    }
}
