//! Waiting until a descriptor can be read or written.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use remit_link::ForeignSocket;
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

/// Registers a non-blocking descriptor with the runtime.
///
/// # Errors
/// What epoll_ctl(2) says.
#[allow(unsafe_code)]
pub fn watch<T: Watchable>(fd: Arc<T>, interest: Interest) -> io::Result<AsyncFd<Arc<T>>> {
    // SAFETY: the one condition is that `as_raw_fd` gives the same open descriptor until the
    // AsyncFd is dropped. A shared value of these types does: it lives as long, and gives no mutable access.
    let watched = unsafe { AsyncFd::register_with_interest(fd, interest) };
    watched.map_err(io::Error::from)
}

/// What owns one descriptor from its beginning to its end.
pub trait Watchable: AsRawFd + AsFd {}
impl Watchable for OwnedFd {}
impl Watchable for ForeignSocket {}

/// A socket that is written to at once and watched for reading only: each time that the other side read something
/// would otherwise wake this process, to learn that it may write what it could write anyway.
#[derive(Debug)]
pub struct Socket<T: Watchable = OwnedFd> {
    events: AsyncFd<Arc<T>>,
}

impl<T: Watchable> Socket<T> {
    /// Watches a non-blocking socket.
    ///
    /// # Errors
    /// What epoll_ctl(2) says.
    pub fn new(fd: T) -> io::Result<Self> {
        let events = watch(Arc::new(fd), Interest::READABLE)?;
        Ok(Self { events })
    }

    /// What to read from, as soon as there is something.
    pub const fn events(&self) -> &AsyncFd<Arc<T>> {
        &self.events
    }

    /// Waits until there may be something to read.
    ///
    /// # Errors
    /// The runtime ends.
    pub async fn readable(&self) -> io::Result<AsyncFdReadyGuard<'_, Arc<T>>> {
        self.events.readable().await
    }

    /// Waits until a socket that was full takes something.
    ///
    /// # Errors
    /// What dup(2) or epoll_ctl(2) say.
    pub async fn writable(&self) -> io::Result<()> {
        // One descriptor is registered once; a copy of it is another, and never the last: it goes first.
        let copy = self.as_fd().try_clone_to_owned()?;
        let full = watch(Arc::new(copy), Interest::WRITABLE)?;
        full.writable().await.map(drop)
    }
}

impl<T: Watchable> AsFd for Socket<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.get_ref().as_fd()
    }
}
