//! Opens what nobody but root can change, and reads it whole.
//!
//! A path is walked from `/`, one component at a time by descriptor, no
//! symbolic link followed. Each directory on the way and the file itself must
//! be root's and writable by nobody else; a sticky bit does not help, it lets
//! others add names. An access control list needs no look of its own: what it
//! can grant at most stands in the group bits (acl(5)).
//!
//! Files that are not installed yet may be anybody's ([`Owners::Anybody`]); what they are, and how
//! large, is checked all the same.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use remit_common::caps;
use remit_common::text::line;

/// Why something is not used.
#[derive(Debug, PartialEq, Eq)]
pub struct Distrusted {
    /// What it is about: the file, or a directory on the way to it.
    pub path: PathBuf,
    /// The reason, and the way out where it is not plain.
    pub why: String,
}

impl fmt::Display for Distrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = line(self.path.as_os_str().as_bytes(), caps::PATH);
        write!(f, "cannot open '{path}': {}", self.why)
    }
}

/// Whose files count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// Root's, that nobody else can write: whatever is in force.
    Root,
    /// Anybody's, whoever can write them: files to look at before they are installed.
    Anybody,
}

/// What stands under a name in a trusted directory.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry {
    /// Nothing.
    Missing,
    /// A symbolic link, and what it says. It was not followed.
    Link(OsString),
    /// A regular file's bytes.
    Bytes(Vec<u8>),
}

/// Opens a directory for reading; `None` if it, or one above it, is not there.
///
/// # Errors
/// The first component that is no directory, or not only its `owners`' to
/// change; a path that is relative or climbs with `..`.
pub fn directory(path: &Path, owners: Owners) -> Result<Option<OwnedFd>, Distrusted> {
    let mut components = path.components();
    if components.next() != Some(Component::RootDir) {
        return Err(distrusted(path, "the path must be absolute"));
    }
    let mut so_far = PathBuf::from("/");
    let how = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut reached = open("/", how, Mode::empty()).map_err(|errno| failed(&so_far, errno))?;
    check_directory(&so_far, &reached, owners)?;
    for component in components {
        let Component::Normal(name) = component else {
            return Err(distrusted(path, "the path must not contain '..'"));
        };
        so_far.push(name);
        reached = match openat(&reached, name, how, Mode::empty()) {
            Ok(next) => next,
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(failed(&so_far, errno)),
        };
        check_directory(&so_far, &reached, owners)?;
    }
    // The same inode, now for reading: "." of a descriptor cannot be replaced.
    let how = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    openat(&reached, ".", how, Mode::empty())
        .map(Some)
        .map_err(|errno| failed(path, errno))
}

/// Reads the file `name` of a directory that [`directory`] opened; `path` names it in errors.
///
/// It is opened once, without waiting for the writer of a FIFO; the descriptor
/// that was checked is the one that is read.
///
/// # Errors
/// Not a regular file, not only root's, a second hard link, over `cap` bytes,
/// changed meanwhile, or the system's own error.
pub fn read(
    dir: impl AsFd,
    name: &OsStr,
    path: &Path,
    owners: Owners,
    cap: usize,
) -> Result<Entry, Distrusted> {
    let how = OFlag::O_RDONLY
        | OFlag::O_NOFOLLOW
        | OFlag::O_NONBLOCK
        | OFlag::O_NOCTTY
        | OFlag::O_CLOEXEC;
    let opened = match openat(&dir, name, how, Mode::empty()) {
        Ok(opened) => opened,
        Err(Errno::ENOENT) => return Ok(Entry::Missing),
        Err(Errno::ELOOP) => {
            return readlinkat(&dir, name)
                .map(Entry::Link)
                .map_err(|errno| failed(path, errno));
        }
        Err(Errno::ENXIO) => return Err(distrusted(path, "it is not a regular file")),
        Err(errno) => return Err(failed(path, errno)),
    };
    let before = fstat(&opened).map_err(|errno| failed(path, errno))?;
    check_file(path, &before, owners, cap)?;

    let mut file = File::from(opened);
    let mut bytes = Vec::new();
    let most = u64::try_from(cap).unwrap_or(u64::MAX).saturating_add(1);
    let taken = file.by_ref().take(most).read_to_end(&mut bytes);
    taken.map_err(|error| distrusted(path, error.to_string()))?;
    let after = fstat(&file).map_err(|errno| failed(path, errno))?;
    if stamp(&before) != stamp(&after) || usize::try_from(after.st_size) != Ok(bytes.len()) {
        return Err(distrusted(path, "it changed while it was read; try again"));
    }
    Ok(Entry::Bytes(bytes))
}

/// What differs after a write. Before Linux 6.13 a write within one tick of the
/// kernel's clock leaves the times alone; the length is compared as well.
fn stamp(stat: &FileStat) -> impl PartialEq + use<> {
    (
        stat.st_size,
        stat.st_mtime,
        stat.st_mtime_nsec,
        stat.st_ctime,
        stat.st_ctime_nsec,
    )
}

fn check_directory(path: &Path, opened: impl AsFd, owners: Owners) -> Result<(), Distrusted> {
    let stat = fstat(opened).map_err(|errno| failed(path, errno))?;
    match kind(&stat) {
        SFlag::S_IFDIR => check_owner(path, &stat, owners),
        SFlag::S_IFLNK => Err(distrusted(
            path,
            "it is a symbolic link; name the real directory",
        )),
        _ => Err(distrusted(path, "it is not a directory")),
    }
}

fn check_file(path: &Path, stat: &FileStat, owners: Owners, cap: usize) -> Result<(), Distrusted> {
    if kind(stat) != SFlag::S_IFREG {
        return Err(distrusted(path, "it is not a regular file"));
    }
    check_owner(path, stat, owners)?;
    // A second name is somebody else's way to it, wherever that is.
    if stat.st_nlink != 1 && owners == Owners::Root {
        let why = format!(
            "it has {} hard links; make it a file of its own",
            stat.st_nlink
        );
        return Err(distrusted(path, why));
    }
    if usize::try_from(stat.st_size).map_or(true, |size| size > cap) {
        let why = format!("it has {} bytes, the most is {cap}", stat.st_size);
        return Err(distrusted(path, why));
    }
    Ok(())
}

fn check_owner(path: &Path, stat: &FileStat, owners: Owners) -> Result<(), Distrusted> {
    match owners {
        Owners::Root => check_root(path, stat),
        Owners::Anybody => Ok(()),
    }
}

/// Refuses what is not root's, or can be written by somebody else.
pub fn check_root(path: &Path, stat: &FileStat) -> Result<(), Distrusted> {
    let mode = Mode::from_bits_truncate(stat.st_mode);
    if stat.st_uid != 0 {
        let why = format!("it is owned by uid {}, not by root; chown it", stat.st_uid);
        return Err(distrusted(path, why));
    }
    if mode.contains(Mode::S_IWOTH) {
        return Err(distrusted(path, "it is writable by everybody; chmod go-w"));
    }
    if mode.contains(Mode::S_IWGRP) {
        let why = format!("it is writable by group {}; chmod go-w", stat.st_gid);
        return Err(distrusted(path, why));
    }
    Ok(())
}

/// The type of a file.
pub fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// The system's own error about a path.
pub fn failed(path: &Path, errno: Errno) -> Distrusted {
    distrusted(path, errno.desc())
}

/// A reason against a path.
pub fn distrusted(path: &Path, why: impl Into<String>) -> Distrusted {
    Distrusted {
        path: path.to_path_buf(),
        why: why.into(),
    }
}
