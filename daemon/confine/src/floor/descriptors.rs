//! Descriptors of a child that places and closes them itself.

use super::check;
use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

/// Closes `fd` at the next exec. fcntl(2).
pub(crate) fn close_on_exec(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) }.into())?;
    Ok(())
}

/// Puts a copy of `fd` at number `at`, not close-on-exec. dup3(2) refuses `fd == at`.
pub(crate) fn place(fd: BorrowedFd<'_>, at: RawFd) -> io::Result<()> {
    // SAFETY: integers only. What was at `at` in this process is meant to go.
    check(unsafe { libc::dup3(fd.as_raw_fd(), at, 0) }.into())?;
    Ok(())
}

/// As `place`, but close-on-exec.
pub(crate) fn place_closing(fd: BorrowedFd<'_>, at: RawFd) -> io::Result<()> {
    // SAFETY: as in `place`.
    check(unsafe { libc::dup3(fd.as_raw_fd(), at, libc::O_CLOEXEC) }.into())?;
    Ok(())
}

/// Owns descriptor `fd`, which this child has placed itself.
pub(crate) fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: only called once for a number that this child has just filled.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// A copy of `fd` at `lowest` or above, close-on-exec. It has no owner: `close_from` ends it.
pub(crate) fn copy_above(fd: BorrowedFd<'_>, lowest: RawFd) -> io::Result<BorrowedFd<'static>> {
    // SAFETY: integers only.
    let new = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) };
    check(new.into())?;
    Ok(placed(new))
}

/// Names descriptor `fd` of this process, which stays open for `'static`: for a child between
/// fork and exec, which places its descriptors itself and never closes these.
pub(crate) fn placed(fd: RawFd) -> BorrowedFd<'static> {
    // SAFETY: only called with numbers that this child has filled itself.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Closes every descriptor from `first` on. close_range(2), Linux 5.9.
pub(crate) fn close_from(first: RawFd) -> io::Result<()> {
    // SAFETY: integers only; called in a child whose owners of these never run again.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) })?;
    Ok(())
}

/// Closes descriptor `fd` of this child, if it is open.
pub(crate) fn close_one(fd: RawFd) {
    // SAFETY: integers only; called in a child whose owner of it never runs again.
    unsafe { libc::close(fd) };
}
