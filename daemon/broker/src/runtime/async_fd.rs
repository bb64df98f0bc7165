//! Waits until an fd is readable or writable.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use nix::errno::Errno;
use remit_closer::ForeignPipe;
use remit_link::ForeignSocket;
use remit_link::foreign::Unread;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::io::{AsyncRead, Interest, ReadBuf};

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

/// Reads only bytes. File descriptors are an error; the close of the socket releases them.
pub struct Reader(pub Rc<Socket<ForeignSocket>>);

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.events().poll_read_ready(context))?;
            let unfilled = into.initialize_unfilled();
            match self.0.events().get_ref().recv(unfilled) {
                Ok(piece) => {
                    let read = piece.length;
                    // A short read means that the socket is empty.
                    if (1..unfilled.len()).contains(&read) {
                        ready.clear_ready();
                    }
                    into.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(Unread::Errno(Errno::EAGAIN)) => ready.clear_ready(),
                Err(Unread::Errno(Errno::EINTR)) => {}
                Err(unread) => return Poll::Ready(Err(unread.into())),
            }
        }
    }
}
