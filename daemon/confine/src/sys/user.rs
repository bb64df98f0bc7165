//! Asks the kernel about a user's processes without reading files of theirs.

use super::check;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Returns true if a process, or a zombie, has this real uid. For uid 0 it looks for the caller's. getpriority(2).
pub fn has_processes(uid: u32) -> io::Result<bool> {
    // SAFETY: integers only.
    let answer = unsafe { libc::syscall(libc::SYS_getpriority, libc::PRIO_USER, uid) };
    match check(answer) {
        Ok(_) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(false),
        Err(e) => Err(e),
    }
}

pub(crate) fn entries(dir: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    let fd = dir.as_raw_fd();
    // SAFETY: the descriptor is open and the buffer is valid for its length.
    let n = unsafe { libc::syscall(libc::SYS_getdents64, fd, buf.as_mut_ptr(), buf.len()) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}
