//! One end of stdin or stdout, read and written without a thread where it is a pipe or a socket.
//!
//! The file description may be shared with others, so it is never made non-blocking. Instead poll(2) is
//! asked before each read and each write whether that one would wait, and no write is longer than what a
//! pipe with room takes whole. Only who shares an end with somebody else that uses it in that same
//! moment may wait there after all; nothing but this program waits then.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::FileTypeExt;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, Ready};

/// What a pipe that poll(2) calls writable takes without waiting: PIPE_BUF of pipe(7).
const PIECE: usize = 4096;

/// What an end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A pipe.
    Pipe,
    /// A socket.
    Socket,
    /// A file, a terminal or another device: who reads or writes it may have to wait.
    Waits,
}

/// An end of ours, or its duplicate.
#[derive(Debug)]
pub struct End {
    file: File,
    kind: Kind,
}

impl End {
    /// A duplicate of `fd`.
    ///
    /// # Errors
    /// When there is no descriptor to be had.
    pub fn of(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let file = File::from(fd.try_clone_to_owned()?);
        let kind = file.metadata()?.file_type();
        let kind = match (kind.is_fifo(), kind.is_socket()) {
            (true, _) => Kind::Pipe,
            (_, true) => Kind::Socket,
            (false, false) => Kind::Waits,
        };
        Ok(Self { file, kind })
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The file, for a thread that may wait.
    pub fn into_file(self) -> File {
        self.file
    }

    /// Whether a read or write now would not wait. An end that is closed never waits.
    fn is_ready(&self, flags: PollFlags) -> bool {
        let mut asked = [PollFd::new(self.file.as_fd(), flags)];
        loop {
            match poll(&mut asked, PollTimeout::ZERO) {
                Err(Errno::EINTR) => {}
                // Where it cannot be asked, the read or write tells why.
                answer => return answer != Ok(0),
            }
        }
    }
}

/// Reads from an end.
pub struct Reader(AsyncFd<Readable>);

struct Readable(End);

impl AsRawFd for Readable {
    fn as_raw_fd(&self) -> RawFd {
        self.0.file.as_raw_fd()
    }
}

impl Reader {
    /// A reader of a pipe or a socket.
    ///
    /// # Errors
    /// What epoll_ctl(2) says.
    pub fn new(end: End) -> io::Result<Self> {
        watched(Readable(end), Interest::READABLE).map(Self)
    }

    /// What is there to be read, and at least a byte of it unless the end is closed.
    ///
    /// # Errors
    /// What read(2) says.
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

/// Writes to a pipe or a socket.
pub struct Writer(End);

impl Writer {
    /// A writer of this end.
    pub fn new(end: End) -> Self {
        Self(end)
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// What write(2) says.
    pub async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if !self.0.is_ready(PollFlags::POLLOUT) {
                self.room().await?;
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

    /// Waits for room. Watched only meanwhile: else each read of the client would wake us up.
    async fn room(&self) -> io::Result<()> {
        let end = watched(self.0.file.try_clone()?, Interest::WRITABLE)?;
        let _ = end.writable().await?;
        Ok(())
    }
}

/// Returns when who wrote to this end is gone, even while what it wrote waits to be read.
pub async fn writer_gone(fd: BorrowedFd<'_>) {
    // A pipe tells this unasked; asked for what can be read, it would wake us up for each line.
    let interest = |kind| match kind {
        Kind::Pipe => Interest::PRIORITY,
        Kind::Socket | Kind::Waits => Interest::READABLE,
    };
    watch(fd, interest, Ready::is_read_closed).await;
}

/// Returns when who read from this end is gone, even while nothing is written.
///
/// Files have no reader, so for them this never returns (epoll_ctl(2): EPERM).
pub async fn reader_gone(fd: BorrowedFd<'_>) {
    let interest = |kind| match kind {
        Kind::Pipe => Interest::ERROR,
        Kind::Socket | Kind::Waits => Interest::WRITABLE | Interest::ERROR,
    };
    watch(fd, interest, Ready::is_write_closed).await;
}

async fn watch(fd: BorrowedFd<'_>, interest: fn(Kind) -> Interest, closed: fn(Ready) -> bool) {
    if hang_up(fd, interest, closed).await.is_err() {
        std::future::pending().await
    }
}

async fn hang_up(
    fd: BorrowedFd<'_>,
    interest: fn(Kind) -> Interest,
    closed: fn(Ready) -> bool,
) -> io::Result<()> {
    let end = End::of(fd)?;
    let interest = interest(end.kind);
    let end = watched(end.into_file(), interest)?;
    loop {
        // The readiness is edge-triggered: this wakes up only when it changes.
        let mut guard = end.ready(interest).await?;
        if closed(guard.ready()) || guard.ready().is_error() {
            return Ok(());
        }
        guard.clear_ready();
    }
}

/// Registers a descriptor that is non-blocking, or asked each time, with the runtime.
///
/// # Errors
/// What epoll_ctl(2) says.
#[expect(
    deprecated,
    reason = "its successor is an unsafe function; what that asks for, an owned file gives"
)]
pub fn watched<T: AsRawFd>(end: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(end, interest)
}

/// Somebody who shares the end was faster, or made it non-blocking; or a signal came.
fn again(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
