//! Files that arguments name: path arguments, which the command's definition knows, and text of the requester's that
//! happens to be the name of a file.
//!
//! A path argument that is a file is bound with its content: as a sealed copy where the program gets a descriptor, and
//! else as a file that root alone can change. Whatever is named and not bound is a sentence for the approver.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use remit_common::caps;
use remit_confine::{Measured, PathIs};
use remit_link::memfd;
use sha2::{Digest, Sha256};

use super::file::{self, LARGEST_ARGUMENT, changing, ctime_ns, identity, kind, shown};
use super::{FileFound, Held};

/// What an argument names.
#[derive(Debug, PartialEq, Eq)]
pub enum Named {
    /// No file.
    Nothing,
    /// A file that is bound with its content.
    File(FileFound),
    /// Something whose content is not bound: a sentence.
    Loose(String),
}

impl Named {
    /// Puts it where it belongs.
    pub fn add(self, files: &mut Vec<FileFound>, loose: &mut Vec<String>) {
        match self {
            Self::Nothing => {}
            Self::File(file) => files.push(file),
            Self::Loose(sentence) => loose.push(sentence),
        }
    }
}

/// What an argument is called, by its number.
pub fn name(at: usize) -> String {
    format!("argument {at}")
}

/// A path argument, looked up as the job will: no link on the way. `copy`: gets its content.
///
/// # Errors
/// It is not there, of another kind, or it cannot be bound.
pub fn of_path(
    what: &str,
    path: &CStr,
    is: PathIs,
    copy: Option<BorrowedFd<'_>>,
) -> Result<Named, String> {
    let cannot = |errno: Errno| format!("{what}, '{}', cannot be opened: {errno}", shown(path));
    let place = open_plain(path, OFlag::O_PATH).map_err(cannot)?;
    let stat = fstat(&place).map_err(cannot)?;
    match (kind(&stat), is) {
        (SFlag::S_IFDIR, PathIs::Directory | PathIs::Either) => {
            return Ok(Named::Loose(format!(
                "{what} is a directory: what is in it is no part of what is approved"
            )));
        }
        (SFlag::S_IFREG, PathIs::File | PathIs::Either) => {}
        _ => return Err(format!("{what}, '{}', is of another kind", shown(path))),
    }
    if let Some(copy) = copy {
        return copied(what, path, &stat, copy).map(Named::File);
    }
    let found = file::look(path)?.filter(|found| found.is(&stat));
    let found = found.ok_or_else(|| changing(path))?;
    if !found.is_file() {
        let why = "what it holds is made when it is read";
        return Err(format!(
            "{what}, '{}', cannot be approved: {why}",
            shown(path)
        ));
    }
    let file = found.measure(what, Held::Checked, LARGEST_ARGUMENT, None);
    file.map(Named::File).map_err(|why| {
        format!("{why}; with pass = \"descriptor\" the command would get a copy of it")
    })
}

/// Text of the requester's: a file that it names, from `cwd` on, whole or behind a `=`.
///
/// # Errors
/// The file system's own.
pub fn of_text(what: &str, text: &CStr, cwd: &CStr) -> Result<Named, String> {
    let bytes = text.to_bytes();
    let value = match (bytes.first(), bytes.iter().position(|byte| *byte == b'=')) {
        (Some(b'-'), Some(equals)) => bytes.get(equals + 1..).unwrap_or_default(),
        (Some(b'-'), None) | (None, _) => return Ok(Named::Nothing),
        (Some(_), _) => bytes,
    };
    let path = match value.first() {
        None => return Ok(Named::Nothing),
        Some(b'/') => value.to_vec(),
        Some(_) => [cwd.to_bytes(), b"/", value].concat(),
    };
    let Ok(path) = CString::new(path) else {
        return Ok(Named::Nothing);
    };
    // What cannot be looked at with the requester's rights is not told apart from what is not there.
    let Some(found) = file::look(&path)
        .unwrap_or(None)
        .filter(file::Place::is_file)
    else {
        return Ok(Named::Nothing);
    };
    let file = found.measure(what, Held::Seen, LARGEST_ARGUMENT, None);
    Ok(file.map_or_else(
        |_| {
            Named::Loose(format!(
                "{what} names a file whose content is no part of what is approved: others than root can \
                 change it, or it cannot be read"
            ))
        },
        Named::File,
    ))
}

/// Copies a file, as it is at one moment, and seals the copy.
fn copied(
    what: &str,
    path: &CStr,
    stat: &FileStat,
    copy: BorrowedFd<'_>,
) -> Result<FileFound, String> {
    let cannot = |why: String| format!("{what}, '{}', cannot be copied: {why}", shown(path));
    let errno = |errno: Errno| cannot(errno.to_string());
    // What was put there meanwhile is not waited for: a FIFO, a lease (fcntl(2)).
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = open_plain(path, flags).map_err(errno)?;
    let before = fstat(&file).map_err(errno)?;
    if (before.st_dev, before.st_ino) != (stat.st_dev, stat.st_ino) {
        return Err(changing(path));
    }
    let largest = u64::try_from(caps::COPIED_FILE).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    let mut file = File::from(file);
    Read::by_ref(&mut file)
        .take(largest.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| cannot(error.to_string()))?;
    if bytes.len() > caps::COPIED_FILE {
        let mib = caps::COPIED_FILE >> 20;
        return Err(cannot(format!("it is larger than {mib} MiB")));
    }
    let after = fstat(&file).map_err(errno)?;
    if identity(&before) != identity(&after)
        || u64::try_from(after.st_size) != Ok(bytes.len() as u64)
    {
        return Err(changing(path));
    }
    let copy = copy.try_clone_to_owned();
    let mut copy = File::from(copy.map_err(|error| cannot(error.to_string()))?);
    copy.write_all(&bytes)
        .and_then(|()| memfd::close(&mut copy))
        .map_err(|error| cannot(error.to_string()))?;
    Ok(FileFound {
        what: what.to_owned(),
        held: Held::Copied,
        measured: Measured {
            path: path.to_owned(),
            dev: after.st_dev,
            ino: after.st_ino,
            ctime_ns: ctime_ns(&after),
            size: bytes.len() as u64,
            sha256: Sha256::digest(&bytes).into(),
        },
        real: path.to_owned(),
    })
}

/// Opens an absolute path without following a link on the way.
fn open_plain(path: &CStr, flags: OFlag) -> Result<OwnedFd, Errno> {
    let root = open(c"/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    let relative = path.to_bytes().strip_prefix(b"/").unwrap_or_default();
    let relative = match relative {
        [] => b".",
        relative => relative,
    };
    let relative = CString::new(relative).map_err(|_| Errno::EINVAL)?;
    let plain = ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(plain | ResolveFlag::RESOLVE_BENEATH);
    openat2(root.as_fd(), relative.as_c_str(), how)
}
