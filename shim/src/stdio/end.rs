//! stdin or stdout, used without a thread if it is a pipe or a socket. The file description may be shared, so it is
//! never made non-blocking. poll(2) checks before each read and write that it does not block, and writes are short.
//! Only another process on the same end can still cause a block. The daemon's socket is written directly and watched
//! only for reading: interest in writing would wake it at each read.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, Interest, ReadBuf, Ready};

/// Bytes that a writable pipe takes without blocking: PIPE_BUF of pipe(7).
const PIECE: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StdioKind {
    Pipe,
    Socket,
    /// A file, terminal or other device: reading or writing may block.
    Blocking,
}

#[derive(Debug)]
pub struct StdioEnd {
    file: File,
    kind: StdioKind,
}

impl StdioEnd {
    pub fn from_fd(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let file = File::from(fd.try_clone_to_owned()?);
        let kind = file.metadata()?.file_type();
        let kind = match (kind.is_fifo(), kind.is_socket()) {
            (true, _) => StdioKind::Pipe,
            (_, true) => StdioKind::Socket,
            (false, false) => StdioKind::Blocking,
        };
        Ok(Self { file, kind })
    }

    pub fn kind(&self) -> StdioKind {
        self.kind
    }

    pub fn into_file(self) -> File {
        self.file
    }

    /// Returns true if a read or write would not block now. A closed end never blocks.
    fn is_ready(&self, flags: PollFlags) -> bool {
        let mut asked = [PollFd::new(self.file.as_fd(), flags)];
        loop {
            match poll(&mut asked, PollTimeout::ZERO) {
                Err(Errno::EINTR) => {}
                // If poll fails, the read or write reports the error.
                answer => return answer != Ok(0),
            }
        }
    }
}

pub struct Reader(AsyncFd<Readable>);

struct Readable(StdioEnd);

impl AsRawFd for Readable {
    fn as_raw_fd(&self) -> RawFd {
        self.0.file.as_raw_fd()
    }
}

impl Reader {
    pub fn new(end: StdioEnd) -> io::Result<Self> {
        watched(Readable(end), Interest::READABLE).map(Self)
    }

    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut guard = self.0.readable().await?;
            let end = &self.0.get_ref().0;
            if !end.is_ready(PollFlags::POLLIN) {
                guard.clear_ready();
                continue;
            }
            match (&end.file).read(buffer) {
                Err(error) if again(&error) => {}
                end => return end,
            }
        }
    }
}

pub struct Writer(StdioEnd);

impl Writer {
    pub fn new(end: StdioEnd) -> Self {
        Self(end)
    }

    pub async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if !self.0.is_ready(PollFlags::POLLOUT) {
                self.wait_writable().await?;
                continue;
            }
            let piece = bytes.get(..PIECE).unwrap_or(bytes);
            match (&self.0.file).write(piece) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(error) if again(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until a write is possible. A permanent watch would wake the process at each read of the client.
    async fn wait_writable(&self) -> io::Result<()> {
        let end = watched(self.0.file.try_clone()?, Interest::WRITABLE)?;
        let _ = end.writable().await?;
        Ok(())
    }
}

/// Returns when the writer of this end is gone, even while its data is unread.
pub async fn writer_gone(fd: BorrowedFd<'_>) {
    // A pipe reports a hang-up without being asked. Interest in reading would cause a wake-up for each line.
    let interest = |kind| match kind {
        StdioKind::Pipe => Interest::PRIORITY,
        StdioKind::Socket | StdioKind::Blocking => Interest::READABLE,
    };
    watch(fd, interest, Ready::is_read_closed).await;
}

/// Returns when the reader of this end is gone, even while nothing is written. Never returns for files (EPERM).
pub async fn reader_gone(fd: BorrowedFd<'_>) {
    let interest = |kind| match kind {
        StdioKind::Pipe => Interest::ERROR,
        StdioKind::Socket | StdioKind::Blocking => Interest::WRITABLE | Interest::ERROR,
    };
    watch(fd, interest, Ready::is_write_closed).await;
}

async fn watch(fd: BorrowedFd<'_>, interest: fn(StdioKind) -> Interest, closed: fn(Ready) -> bool) {
    if hang_up(fd, interest, closed).await.is_err() {
        std::future::pending().await
    }
}

async fn hang_up(
    fd: BorrowedFd<'_>,
    interest: fn(StdioKind) -> Interest,
    closed: fn(Ready) -> bool,
) -> io::Result<()> {
    let end = StdioEnd::from_fd(fd)?;
    let interest = interest(end.kind);
    let end = watched(end.into_file(), interest)?;
    loop {
        // Readiness is edge-triggered, so this wakes up only for changes.
        let mut guard = end.ready(interest).await?;
        if closed(guard.ready()) || guard.ready().is_error() {
            return Ok(());
        }
        guard.clear_ready();
    }
}

/// Registers a descriptor that is non-blocking or is polled before each use.
#[expect(
    deprecated,
    reason = "its successor is an unsafe function; what that asks for, an owned file gives"
)]
pub fn watched<T: AsRawFd>(end: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(end, interest)
}

/// Another user of the end was faster or made it non-blocking, or a signal came.
fn again(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

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
