//! Waiting until a descriptor can be read or written.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

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

/// A socket that is written to at once and watched for reading only: each time that the other side read something
/// would otherwise wake this process, to learn that it may write what it could write anyway.
#[derive(Debug)]
pub struct Socket {
    events: AsyncFd<Arc<OwnedFd>>,
}

impl Socket {
    /// Watches a non-blocking socket.
    ///
    /// # Errors
    /// What epoll_ctl(2) says.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let events = watch(Arc::new(fd), Interest::READABLE)?;
        Ok(Self { events })
    }

    /// What to read from, as soon as there is something.
    pub const fn events(&self) -> &AsyncFd<Arc<OwnedFd>> {
        &self.events
    }

    /// Waits until there may be something to read.
    ///
    /// # Errors
    /// The runtime ends.
    pub async fn readable(&self) -> io::Result<AsyncFdReadyGuard<'_, Arc<OwnedFd>>> {
        self.events.readable().await
    }

    /// Waits until a socket that was full takes something.
    ///
    /// # Errors
    /// What dup(2) or epoll_ctl(2) say.
    pub async fn writable(&self) -> io::Result<()> {
        // One descriptor is registered once; a copy of it is another.
        let copy = self.as_fd().try_clone_to_owned()?;
        let full = watch(Arc::new(copy), Interest::WRITABLE)?;
        full.writable().await.map(drop)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.get_ref().as_fd()
    }
}
