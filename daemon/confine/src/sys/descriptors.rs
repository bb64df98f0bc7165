//! Descriptors of a child that moves and closes them itself.

use super::check;
use std::{
    io,
    mem::ManuallyDrop,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

pub(crate) fn close_on_exec(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) }.into())?;
    Ok(())
}

/// Copies `fd` to number `at`, not close-on-exec. dup3(2) refuses `fd == at`.
pub(crate) fn renumber(fd: BorrowedFd<'_>, at: RawFd) -> io::Result<()> {
    // SAFETY: integers only. The caller means to replace what is open at `at`.
    check(unsafe { libc::dup3(fd.as_raw_fd(), at, 0) }.into())?;
    Ok(())
}

pub(crate) fn renumber_cloexec(fd: BorrowedFd<'_>, at: RawFd) -> io::Result<()> {
    // SAFETY: as in `renumber`.
    check(unsafe { libc::dup3(fd.as_raw_fd(), at, libc::O_CLOEXEC) }.into())?;
    Ok(())
}

pub(crate) fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: called once for a number that this process has just filled, or that the service manager handed over.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Takes the descriptor out of a value that is being dropped. Nothing may use `held` afterwards.
pub(crate) fn take_on_drop(held: &mut ManuallyDrop<OwnedFd>) -> OwnedFd {
    // SAFETY: the only caller is a destructor, which runs once and does not use `held` again.
    unsafe { ManuallyDrop::take(held) }
}

/// Copies `fd` to `lowest` or above, close-on-exec. The copy has no owner: `close_from` closes it.
pub(crate) fn copy_above(fd: BorrowedFd<'_>, lowest: RawFd) -> io::Result<BorrowedFd<'static>> {
    // SAFETY: integers only.
    let new = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) };
    check(new.into())?;
    Ok(borrowed(new))
}

/// Borrows `fd` as `'static`: for a child between fork and exec, which fills such numbers and never closes them.
pub(crate) fn borrowed(fd: RawFd) -> BorrowedFd<'static> {
    // SAFETY: called only with numbers that this process has filled itself or inherited open.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

pub(crate) fn close_from(first: RawFd) -> io::Result<()> {
    // SAFETY: integers only. Called in a child in which the owners of these descriptors never run again.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) })?;
    Ok(())
}

pub(crate) fn close_one(fd: RawFd) {
    // SAFETY: integers only. Called in a child in which the owner of the descriptor never runs again.
    unsafe { libc::close(fd) };
}
