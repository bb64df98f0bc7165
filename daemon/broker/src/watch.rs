//! Waiting until a descriptor can be read or written.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a non-blocking descriptor with the runtime.
///
/// # Errors
/// What epoll_ctl(2) says.
#[allow(unsafe_code)]
pub fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the one condition is that `as_raw_fd` gives the same open descriptor until the
    // AsyncFd is dropped. An OwnedFd does: it is moved in here, and gives no mutable access.
    let watched = unsafe { AsyncFd::register_with_interest(fd, interest) };
    watched.map_err(io::Error::from)
}
