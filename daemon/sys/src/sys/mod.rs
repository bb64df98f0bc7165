//! Wraps system calls: every unsafe block of the root processes is here, as safe functions. nix is used where it does the
//! same. Calls that change the identity are bare system calls. glibc's versions would signal the parent's threads,
//! which a child of `clone3` does not have.

#![allow(unsafe_code)]

mod acl;
mod descriptors;
mod exec;
mod identity;
mod landlock;
mod mount;
mod net;
mod peer;
mod process;
mod root;
mod seccomp_notify;

pub use acl::*;
pub use descriptors::*;
pub use exec::*;
pub use identity::*;
pub use landlock::*;
pub use mount::*;
pub use net::*;
pub use peer::*;
pub use process::*;
pub use root::*;
pub use seccomp_notify::*;

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

fn check(answer: libc::c_long) -> io::Result<libc::c_long> {
    if answer == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(answer)
    }
}

/// Makes a system call with integers and null pointers only, for the self-test: the result, or minus the errno.
pub fn attempt<const N: usize>(number: libc::c_long, args: [libc::c_long; N]) -> i32 {
    let mut six = [0; 6];
    six.iter_mut().zip(args).for_each(|(to, from)| *to = from);
    let [a, b, c, d, e, f] = six;
    // SAFETY: no call made through this function gets an address other than null.
    let answer = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    check(answer).map_or_else(|e| -e.raw_os_error().unwrap_or(0), |n| n as i32)
}

pub fn read(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the descriptor is open and the buffer is valid for its length.
    let n = unsafe { libc::read(fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len()) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

pub fn write(fd: BorrowedFd<'_>, buf: &[u8]) -> io::Result<usize> {
    // SAFETY: the descriptor is open and the buffer is valid for its length.
    let n = unsafe { libc::write(fd.as_raw_fd(), buf.as_ptr().cast(), buf.len()) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}
