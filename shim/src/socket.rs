//! The daemon's socket, written to at once and watched for reading alone: each time that the daemon reads a request
//! would otherwise wake this process, to learn that it may write what it could write anyway.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, Interest, ReadBuf};

use crate::stdio::watched;

/// One end. Cheap to clone: who reads and who writes have one each.
#[derive(Clone, Debug)]
pub struct Socket(Arc<AsyncFd<UnixStream>>);

impl Socket {
    /// Connects to who listens at `path`.
    ///
    /// # Errors
    /// What connect(2) says.
    pub async fn connect(path: &Path) -> io::Result<Self> {
        let stream = tokio::net::UnixStream::connect(path).await?.into_std()?;
        watched(stream, Interest::READABLE).map(|stream| Self(Arc::new(stream)))
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// What write(2) says.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.0.get_ref().write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.room().await?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits for room. One descriptor is registered once; a copy of it is another.
    async fn room(&self) -> io::Result<()> {
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
            let room = into.initialize_unfilled();
            match self.0.get_ref().read(room) {
                Ok(read) => {
                    // A stream that gives less than there is room for is empty.
                    if (1..room.len()).contains(&read) {
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
