//! The floor: every unsafe block of the daemon, as safe functions. What a safe crate offers
//! (nix) is used where it does as well.
//!
//! Calls that change the identity are made as bare system calls: glibc's would signal the
//! threads of the parent, of which a child of `clone3` has none.

#![allow(unsafe_code)]

mod acl;
mod descriptors;
mod exec;
mod identity;
mod landlock;
mod memfd;
mod mount;
mod net;
mod peer;
mod process;
mod root;

pub use acl::open_to_group;
pub(crate) use descriptors::*;
pub(crate) use exec::{Pointers, execve, execve_open};
pub use identity::set_dumpable;
pub(crate) use identity::*;
pub(crate) use landlock::*;
pub use memfd::{SEALED, is_sealed, sealed_memfd};
pub(crate) use mount::*;
pub(crate) use net::*;
pub use peer::{Peer, PidfdSource, cgroups, loginuid, pass_rights_off, peer, peer_uid};
pub(crate) use process::*;
pub use process::{
    Usage, bare_child, default_signals, pidfd_alive, pidfd_open, pidfd_send_signal, reap,
    signal_group,
};
pub(crate) use root::*;

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

/// Makes a system call that takes integers only, or null pointers, for what it answers: the
/// result, or minus the errno. For the witness.
pub(crate) fn attempt<const N: usize>(number: libc::c_long, args: [libc::c_long; N]) -> i32 {
    let mut six = [0; 6];
    six.iter_mut().zip(args).for_each(|(to, from)| *to = from);
    let [a, b, c, d, e, f] = six;
    // SAFETY: none of the calls made through this is given an address but null.
    let answer = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    check(answer).map_or_else(|e| -e.raw_os_error().unwrap_or(0), |n| n as i32)
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
