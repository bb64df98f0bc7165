//! An open directory of this computer. What is in it is reached by one name, and no link is followed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    /// For messages.
    path: PathBuf,
}

/// What has a name in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Nothing,
    File,
    Directory,
    /// A link, a device, a socket.
    Other,
}

const DIRECTORY: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_CLOEXEC);

impl Directory {
    /// Opens a directory that the user names: links in its path are the user's.
    pub fn open(path: &Path) -> Result<Self, String> {
        let path = match path.as_os_str().is_empty() {
            true => Path::new("."),
            false => path,
        };
        let fd = open(path, DIRECTORY, Mode::empty());
        let path = path.to_path_buf();
        match fd {
            Ok(fd) => Ok(Self { fd, path }),
            Err(errno) => Err(about(&path, errno)),
        }
    }

    pub fn path_of(&self, name: &OsStr) -> PathBuf {
        match self.path == Path::new(".") {
            true => PathBuf::from(name),
            false => self.path.join(name),
        }
    }

    pub fn child(&self, name: &OsStr) -> Result<Self, String> {
        let path = self.path_of(name);
        match openat(&self.fd, name, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, path }),
            Err(Errno::ELOOP | Errno::EMLINK | Errno::ENOTDIR) => {
                Err(format!("'{}' is no directory", path.display()))
            }
            Err(errno) => Err(about(&path, errno)),
        }
    }

    /// Makes a directory of the user's alone. Returns false if the name was there.
    pub fn make(&self, name: &OsStr) -> Result<bool, String> {
        match mkdirat(&self.fd, name, Mode::S_IRWXU) {
            Ok(()) => Ok(true),
            Err(Errno::EEXIST) => Ok(false),
            Err(errno) => Err(about(&self.path_of(name), errno)),
        }
    }

    pub fn find(&self, name: &OsStr) -> Result<Found, String> {
        match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(
                match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
                    SFlag::S_IFREG => Found::File,
                    SFlag::S_IFDIR => Found::Directory,
                    _ => Found::Other,
                },
            ),
            Err(Errno::ENOENT) => Ok(Found::Nothing),
            Err(errno) => Err(about(&self.path_of(name), errno)),
        }
    }

    /// Opens a regular file for reading.
    pub fn file(&self, name: &OsStr) -> Result<File, String> {
        let path = self.path_of(name);
        let wrong = || format!("'{}' is no regular file", path.display());
        // Opening a FIFO would wait for ever.
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::ELOOP | Errno::EMLINK | Errno::ENXIO) => return Err(wrong()),
            Err(errno) => return Err(about(&path, errno)),
        };
        match file.metadata() {
            Ok(found) if found.is_file() => Ok(file),
            Ok(_) => Err(wrong()),
            Err(error) => Err(format!("cannot read '{}': {error}", path.display())),
        }
    }

    /// Makes a file that is not there, with mode 0600.
    pub fn create(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let fd = openat(&self.fd, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        Ok(File::from(fd))
    }

    /// Gives a file another name, in place of a file that has it.
    pub fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(renameat(&self.fd, from, &self.fd, to)?)
    }

    /// Gives a file another name that nothing has.
    pub fn rename_new(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        match linkat(&self.fd, from, &self.fd, to, AtFlags::empty()) {
            Ok(()) => {
                self.remove(from);
                Ok(())
            }
            Err(Errno::EEXIST) => Err(Errno::EEXIST.into()),
            // A file system without hard links: an empty file keeps the name until the rename.
            Err(_) => {
                drop(self.create(to)?);
                self.rename(from, to).inspect_err(|_| self.remove(to))
            }
        }
    }

    pub fn remove(&self, name: &OsStr) {
        // What is gone need not be removed.
        let _ = unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir);
    }

    /// Removes an empty directory. Another one stays.
    pub fn remove_directory(&self, name: &OsStr) {
        let _ = unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir);
    }
}

/// A directory that was made for a file, and goes if the file does not come.
#[derive(Debug)]
pub struct Made(Option<(Directory, OsString)>);

impl Made {
    pub fn none() -> Self {
        Self(None)
    }

    /// Opens the directory of this name, and makes it if it is not there.
    pub fn child(parent: Directory, name: &OsStr) -> Result<(Self, Directory), String> {
        let is_made = parent.make(name)?;
        let child = parent.child(name)?;
        let made = Self(is_made.then(|| (parent, name.to_owned())));
        Ok((made, child))
    }

    pub fn keep(&mut self) {
        self.0 = None;
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Some((parent, name)) = &self.0 {
            parent.remove_directory(name);
        }
    }
}

fn about(path: &Path, errno: Errno) -> String {
    format!(
        "cannot use '{}': {}",
        path.display(),
        io::Error::from(errno)
    )
}
