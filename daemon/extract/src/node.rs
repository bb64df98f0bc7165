//! Looks at one path and opens it, relative to its directory. Links are not followed.

use std::ffi::CStr;
use std::fmt;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use remit_plan::{Kind, Metadata, Stat};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    File,
    Directory,
    Link,
    Fifo,
    Socket,
    Device,
    /// A character device 0:0. In an upper directory it hides the name beneath.
    Whiteout,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    pub kind: NodeKind,
    pub stat: Stat,
    pub links: u64,
    pub mtime_ns: i128,
}

impl Node {
    /// Returns `None` if nothing has this name.
    pub fn find(dir: impl AsFd, name: &CStr) -> Result<Option<Self>, Errno> {
        match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(seen) => Ok(Some(Self::from_seen(&seen))),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    pub fn from_fd(fd: impl AsFd) -> Result<Self, Errno> {
        Ok(Self::from_seen(&fstat(fd)?))
    }

    /// Returns true for the same kind, mode and owner.
    pub fn is_alike(&self, other: &Self) -> bool {
        self.kind == other.kind && self.stat.meta == other.stat.meta
    }

    fn from_seen(seen: &FileStat) -> Self {
        let format = SFlag::from_bits_truncate(seen.st_mode) & SFlag::S_IFMT;
        let kind = match format {
            SFlag::S_IFREG => NodeKind::File,
            SFlag::S_IFDIR => NodeKind::Directory,
            SFlag::S_IFLNK => NodeKind::Link,
            SFlag::S_IFIFO => NodeKind::Fifo,
            SFlag::S_IFSOCK => NodeKind::Socket,
            SFlag::S_IFCHR if seen.st_rdev == 0 => NodeKind::Whiteout,
            _ => NodeKind::Device,
        };
        let stat = Stat {
            kind: Kind::from_mode(seen.st_mode),
            dev: seen.st_dev,
            ino: seen.st_ino,
            ctime_ns: nanoseconds(seen.st_ctime, seen.st_ctime_nsec),
            size: seen.st_size.unsigned_abs(),
            meta: Metadata {
                mode: seen.st_mode & 0o7777,
                uid: seen.st_uid,
                gid: seen.st_gid,
            },
        };
        Self {
            kind,
            stat,
            links: number(seen.st_nlink),
            mtime_ns: nanoseconds(seen.st_mtime, seen.st_mtime_nsec),
        }
    }
}

/// Fields of stat(2) have different widths on different processors.
fn number(field: impl Into<u64>) -> u64 {
    field.into()
}

fn nanoseconds(seconds: impl Into<i128>, rest: impl Into<i128>) -> i128 {
    seconds.into() * 1_000_000_000 + rest.into()
}

impl fmt::Display for NodeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "a file",
            Self::Directory => "a directory",
            Self::Link => "a symbolic link",
            Self::Fifo => "a FIFO",
            Self::Socket => "a socket",
            Self::Device | Self::Whiteout => "a device",
        })
    }
}

pub fn open_directory(dir: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

/// Does not block if the name is a FIFO by now, or somebody has a lease on it.
pub fn open_file(dir: impl AsFd, name: &CStr) -> Result<File, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let opened = openat(dir, name, flags | OFlag::O_CLOEXEC, Mode::empty());
    opened.map(File::from)
}
