//! Waits until an fd is readable or writable.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use remit_link::{ForeignPipe, ForeignSocket};
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

#[allow(unsafe_code)]
pub fn watch<T: Watchable>(fd: Arc<T>, interest: Interest) -> io::Result<AsyncFd<Arc<T>>> {
    // SAFETY: the only condition is that `as_raw_fd` returns the same open descriptor until the AsyncFd is dropped.
    // A shared value of these types does: it lives as long, and gives no mutable access.
    let watched = unsafe { AsyncFd::register_with_interest(fd, interest) };
    watched.map_err(io::Error::from)
}

pub trait Watchable: AsRawFd + AsFd {}
impl Watchable for OwnedFd {}
impl Watchable for ForeignSocket {}
impl Watchable for ForeignPipe {}

/// A socket watched only for reading. Otherwise each read of the peer would wake this process: the socket is still writable.
#[derive(Debug)]
pub struct Socket<T: Watchable = OwnedFd> {
    events: AsyncFd<Arc<T>>,
}

impl<T: Watchable> Socket<T> {
    pub fn new(fd: T) -> io::Result<Self> {
        let events = watch(Arc::new(fd), Interest::READABLE)?;
        Ok(Self { events })
    }

    pub const fn events(&self) -> &AsyncFd<Arc<T>> {
        &self.events
    }

    pub async fn readable(&self) -> io::Result<AsyncFdReadyGuard<'_, Arc<T>>> {
        self.events.readable().await
    }

    pub async fn writable(&self) -> io::Result<()> {
        // An fd can be registered only once, so a dup is used. It is closed first and is never the last reference.
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
