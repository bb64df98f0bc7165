//! Waiting until a descriptor can be read or written.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a non-blocking descriptor with the runtime.
///
/// # Errors
/// What epoll_ctl(2) says.
#[allow(unsafe_code)]
pub fn watch(fd: Arc<OwnedFd>, interest: Interest) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    // SAFETY: the one condition is that `as_raw_fd` gives the same open descriptor until the
    // AsyncFd is dropped. A shared OwnedFd does: it lives as long, and gives no mutable access.
    let watched = unsafe { AsyncFd::register_with_interest(fd, interest) };
    watched.map_err(io::Error::from)
}
