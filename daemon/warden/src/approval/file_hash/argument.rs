//! Path arguments, which the command's definition declares. A file is bound by its content. If the program gets a
//! descriptor, it gets a sealed copy. Otherwise only root may be able to change the file. The approver gets a sentence about
//! every name that is not bound.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use remit_approval::FileBinding;
use remit_common::caps;
use remit_link::memfd;
use remit_spawn::{Measured, PathIs};
use sha2::{Digest, Sha256};

use super::FileFound;
use super::file::{self, LARGEST_ARGUMENT, Look, changing, ctime_ns, identity, kind, shown};

#[derive(Debug, PartialEq, Eq)]
pub enum PathArgument {
    File(FileFound),
    Directory,
}

/// Looks up a path as the job will, without links; `copy` gets the content. One error for all: nothing is revealed.
pub fn of_path(
    what: &str,
    path: &CStr,
    is: PathIs,
    copy: Option<BorrowedFd<'_>>,
) -> Result<PathArgument, String> {
    let absent = || {
        let kind = match is {
            PathIs::File => "file",
            PathIs::Directory => "directory",
            PathIs::Either => "file or directory",
        };
        format!(
            "{what}, '{}', is not a {kind} that the job can open",
            shown(path)
        )
    };
    let resolved = open_plain(path, OFlag::O_PATH).map_err(|_| absent())?;
    let stat = fstat(&resolved).map_err(|_| absent())?;
    match (kind(&stat), is) {
        (SFlag::S_IFDIR, PathIs::Directory | PathIs::Either) => {
            return Ok(PathArgument::Directory);
        }
        (SFlag::S_IFREG, PathIs::File | PathIs::Either) => {}
        _ => return Err(absent()),
    }
    // Reading binds it. O_NONBLOCK: a FIFO or a lease (fcntl(2)) that was put there meanwhile must not block.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = open_plain(path, flags).map_err(|_| absent())?;
    if let Some(copy) = copy {
        return copied(what, path, &stat, file, copy).map(PathArgument::File);
    }
    let found = match file::look(path)? {
        Look::At(found) if found.is(&stat) => found,
        Look::At(_) | Look::Nothing | Look::ProcessSpecific => return Err(changing(path)),
    };
    if !found.is_file() {
        let why = "its content is made when it is read";
        return Err(format!(
            "{what}, '{}', cannot be approved: {why}",
            shown(path)
        ));
    }
    let file = found.measure(what, FileBinding::Checked, LARGEST_ARGUMENT, None);
    file.map(PathArgument::File).map_err(|why| {
        format!("{why}; with pass = \"descriptor\" the command would get a copy of it")
    })
}

fn copied(
    what: &str,
    path: &CStr,
    stat: &FileStat,
    file: OwnedFd,
    copy: BorrowedFd<'_>,
) -> Result<FileFound, String> {
    let cannot = |why: String| format!("{what}, '{}', cannot be copied: {why}", shown(path));
    let errno = |errno: Errno| cannot(errno.to_string());
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
        held: FileBinding::Copied,
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

pub fn is_as_copied(file: &FileFound) -> bool {
    let measured = &file.measured;
    let resolved = open_plain(&measured.path, OFlag::O_PATH);
    resolved.and_then(fstat).is_ok_and(|now| {
        let size = u64::try_from(now.st_size);
        (now.st_dev, now.st_ino, ctime_ns(&now)) == (measured.dev, measured.ino, measured.ctime_ns)
            && size == Ok(measured.size)
    })
}

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
