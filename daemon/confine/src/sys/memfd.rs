//! Creates sealed memfds: scripts and inputs that nobody can change any more. memfd_create(2).

use super::check;
use std::{
    ffi::CStr,
    fs::File,
    io::{self, Seek, Write},
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
};

pub const SEALED: i32 =
    libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;

pub fn sealed_memfd(name: &CStr, bytes: &[u8]) -> io::Result<OwnedFd> {
    // SAFETY: a name valid for the call.
    let fd =
        unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
    check(fd.into())?;
    // SAFETY: a new descriptor that nobody else owns.
    let mut file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    file.write_all(bytes)?;
    file.rewind()?;
    // SAFETY: integers only.
    check(unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, SEALED) }.into())?;
    Ok(file.into())
}

pub fn is_sealed(fd: impl AsFd) -> bool {
    // SAFETY: integers only; -1 if it is not a memfd.
    let seals = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GET_SEALS) };
    seals != -1 && seals & SEALED == SEALED
}
