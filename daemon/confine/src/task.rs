//! Work that may take long, done by a forked child that answers by a pipe.
//!
//! The child is this process over again: same identity, same memory as of the fork. It is for
//! the warden's own slow work, never for a stranger's.

use crate::error::{Doing, Result};
use crate::{Error, floor, kernel};
use nix::poll::{PollFd, PollFlags, poll};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bytes of an answer.
const MOST: usize = 16 << 20;

/// A child at work.
#[derive(Debug)]
pub struct Answer {
    pid: i32,
    pidfd: OwnedFd,
    pipe: OwnedFd,
    bytes: Vec<u8>,
}

/// Forks a child that does `work` and answers with what it returns. For processes of one thread.
///
/// The child has the standard descriptors and those that `work` opens, no other: a lock, a
/// socket or an entry of an epoll would last as long as a look-up that hangs. It dies with us.
///
/// # Errors
/// It cannot be forked.
pub fn in_child(work: impl FnOnce() -> Vec<u8>) -> Result<Answer> {
    in_child_with(&[], |_| work())
}

/// The same for a child that has these descriptors, too, in their order.
///
/// # Errors
/// It cannot be forked.
pub fn in_child_with(
    kept: &[BorrowedFd<'_>],
    work: impl FnOnce(&[BorrowedFd<'_>]) -> Vec<u8>,
) -> Result<Answer> {
    let doing = || "cannot fork a child for slow work".to_owned();
    let flags = nix::fcntl::OFlag::O_CLOEXEC;
    let (pipe, told) = nix::unistd::pipe2(flags).doing(doing)?;
    let unwaiting = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
    nix::fcntl::fcntl(&pipe, unwaiting).doing(doing)?;
    let call = kernel::fork_call()?;
    let (pid, pidfd) = floor::fork(call, None, || {
        let Ok((told, kept)) = alone(told.as_fd(), kept) else {
            return 1;
        };
        let bytes = work(&kept);
        match Pipe(told).write_all(&bytes) {
            Ok(()) => 0,
            Err(_) => 1,
        }
    })
    .doing(doing)?;
    Ok(Answer {
        pid,
        pidfd,
        pipe,
        bytes: Vec::new(),
    })
}

impl Answer {
    /// Readable when `read` gets on.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// The whole answer. `None`: read again when readable. Never waits.
    ///
    /// # Errors
    /// The answer is longer than 16 MiB, or cannot be read.
    pub fn read(&mut self) -> Result<Option<Vec<u8>>> {
        let doing = || "cannot read the answer of a child".to_owned();
        let mut buf = [0u8; 16 << 10];
        loop {
            match floor::read(self.pipe.as_fd(), &mut buf) {
                Ok(0) => return Ok(Some(std::mem::take(&mut self.bytes))),
                Ok(n) => self.bytes.extend(buf.iter().take(n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e).doing(doing),
            }
            if self.bytes.len() > MOST {
                return Err(Error::refused(doing(), "it is longer than 16 MiB"));
            }
        }
    }
}

impl Drop for Answer {
    /// A child whose answer nobody wants is ended; it shares nothing that could break. One that
    /// hangs in the kernel is left as it is: better a zombie later than waiting now.
    fn drop(&mut self) {
        let _ = floor::pidfd_send_signal(&self.pidfd, libc::SIGKILL);
        let mut ended = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut ended, 100u8);
        let _ = floor::reap(self.pid);
    }
}

/// Keeps the standard descriptors, `told` and `kept`, which move.
fn alone(
    told: BorrowedFd<'_>,
    kept: &[BorrowedFd<'_>],
) -> io::Result<(BorrowedFd<'static>, Vec<BorrowedFd<'static>>)> {
    floor::die_with_parent()?;
    let last = 4 + i32::try_from(kept.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let above = |fd: BorrowedFd<'_>| floor::copy_above(fd, last);
    let told = above(told)?;
    let copies: Vec<_> = kept
        .iter()
        .map(|fd| above(*fd))
        .collect::<io::Result<_>>()?;
    floor::place(told, 3)?;
    for (fd, at) in copies.into_iter().zip(4..) {
        floor::place(fd, at)?;
    }
    floor::close_from(last)?;
    Ok((floor::placed(3), (4..last).map(floor::placed).collect()))
}

struct Pipe<'a>(BorrowedFd<'a>);

impl Write for Pipe<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        floor::write(self.0, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
