//! The floor: every unsafe block of the daemon, as safe functions. What a safe crate offers
//! (nix) is used where it does as well.
//!
//! Calls that change the identity are made as bare system calls: glibc's would signal the
//! threads of the parent, of which a child of `clone3` has none.

#![allow(unsafe_code)]

mod exec;
mod identity;
mod landlock;
mod memfd;
mod mount;
mod peer;
mod process;

pub(crate) use exec::{Pointers, execve};
pub use identity::set_dumpable;
pub(crate) use identity::*;
pub(crate) use landlock::*;
pub use memfd::{SEALED, is_sealed, sealed_memfd};
pub(crate) use mount::*;
pub use peer::{Peer, PidfdSource, loginuid, pass_rights_off, peer};
pub(crate) use process::*;
pub use process::{Usage, pidfd_alive, pidfd_open, pidfd_send_signal, reap};

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// The errno of a system call that answers -1.
fn check(answer: libc::c_long) -> io::Result<libc::c_long> {
    if answer == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(answer)
    }
}

/// Reads into `buf`. read(2).
pub fn read(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the descriptor is open and the buffer is valid for its length.
    let n = unsafe { libc::read(fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len()) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// Writes from `buf`. write(2).
pub(crate) fn write(fd: BorrowedFd<'_>, buf: &[u8]) -> io::Result<usize> {
    // SAFETY: the descriptor is open and the buffer is valid for its length.
    let n = unsafe { libc::write(fd.as_raw_fd(), buf.as_ptr().cast(), buf.len()) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}
