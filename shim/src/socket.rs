//! The daemon's socket, written directly and watched only for reading. Interest in writing would wake it at each read.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, Interest, ReadBuf};

use crate::stdio::watched;

/// Cheap to clone: reader and writer each have one.
#[derive(Clone, Debug)]
pub struct Socket(Arc<AsyncFd<UnixStream>>);

impl Socket {
    pub async fn connect(path: &Path) -> io::Result<Self> {
        let stream = tokio::net::UnixStream::connect(path).await?.into_std()?;
        watched(stream, Interest::READABLE).map(|stream| Self(Arc::new(stream)))
    }

    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.0.get_ref().write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.free_space().await?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until a write is possible. A descriptor can be registered once, so a duplicate is registered.
    async fn free_space(&self) -> io::Result<()> {
        let full = watched(self.0.get_ref().try_clone()?, Interest::WRITABLE)?;
        full.writable().await.map(drop)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(context))?;
            let free_space = into.initialize_unfilled();
            match self.0.get_ref().read(free_space) {
                Ok(read) => {
                    // A read shorter than the buffer means that the stream is empty.
                    if (1..free_space.len()).contains(&read) {
                        ready.clear_ready();
                    }
                    into.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}
