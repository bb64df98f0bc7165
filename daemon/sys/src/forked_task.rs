//! Does slow work in a forked child that answers through a pipe. The child is a copy of this process, with its
//! identity and its memory at the fork. It is for the warden's own work, never for a client's.

use crate::error::{Doing, Result};
use crate::{Error, sys};
use nix::fcntl::{FcntlArg, FdFlag};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, killpg};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::{Pid, setpgid};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Maximum number of bytes of an answer, unless more is expected.
const MOST: usize = 16 << 20;

#[derive(Debug)]
pub struct Answer {
    pid: i32,
    pidfd: OwnedFd,
    pipe: OwnedFd,
    bytes: Vec<u8>,
    most: usize,
}

/// Forks a child that does `work` and answers with its result. For processes of one thread. The child has only the standard
/// descriptors, those that `work` opens, and sockets that have something to read: a lock or an epoll entry would last as
/// long as a look-up that hangs. It dies with this process; its process group ends when the [`Answer`] is dropped.
pub fn in_child(work: impl FnOnce() -> Vec<u8>) -> Result<Answer> {
    in_child_with(&[], |_| work())
}

pub fn in_child_with(
    kept: &[BorrowedFd<'_>],
    work: impl FnOnce(&[BorrowedFd<'_>]) -> Vec<u8>,
) -> Result<Answer> {
    let doing = || "cannot fork a child for slow work".to_owned();
    let flags = nix::fcntl::OFlag::O_CLOEXEC;
    let (pipe, write_end) = nix::unistd::pipe2(flags).doing(doing)?;
    let nonblocking = FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
    nix::fcntl::fcntl(&pipe, nonblocking).doing(doing)?;
    // Not clone3: the daemon's own filter refuses it.
    let (pid, pidfd) = sys::fork(sys::ForkCall::Clone, None, || {
        let Ok((write_end, kept)) = alone(write_end.as_fd(), kept) else {
            return 1;
        };
        let bytes = work(&kept);
        match Pipe(write_end).write_all(&bytes) {
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
        most: MOST,
    })
}

impl Answer {
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Accepts up to `most` bytes instead of 16 MiB.
    #[must_use]
    pub fn up_to(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    /// Returns the whole answer, or `None`: read again when readable. Never waits. Refuses more bytes than are accepted.
    pub fn read(&mut self) -> Result<Option<Vec<u8>>> {
        let doing = || "cannot read the answer of a child".to_owned();
        let mut buf = [0u8; 16 << 10];
        loop {
            match sys::read(self.pipe.as_fd(), &mut buf) {
                Ok(0) => return Ok(Some(std::mem::take(&mut self.bytes))),
                Ok(n) => self.bytes.extend(buf.iter().take(n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e).doing(doing),
            }
            if self.bytes.len() > self.most {
                let why = format!("it is longer than {} MiB", self.most >> 20);
                return Err(Error::refused(doing(), why));
            }
        }
    }
}

impl Drop for Answer {
    /// Kills the child and what it started; it shares nothing that could break. Waits at most 100 ms: a child that
    /// hangs in the kernel is left, because a zombie later is better than waiting now.
    fn drop(&mut self) {
        // By the number, which is the child's own until it is reaped. Without a group it has started nothing.
        let _ = killpg(Pid::from_raw(self.pid), Signal::SIGKILL);
        let _ = sys::pidfd_send_signal(&self.pidfd, libc::SIGKILL);
        let mut ended = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut ended, 100u8);
        let _ = sys::reap(self.pid);
    }
}

fn alone(
    write_end: BorrowedFd<'_>,
    kept: &[BorrowedFd<'_>],
) -> io::Result<(BorrowedFd<'static>, Vec<BorrowedFd<'static>>)> {
    sys::die_with_parent()?;
    setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
    let last = 4 + i32::try_from(kept.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let above = |fd: BorrowedFd<'_>| sys::copy_above(fd, last);
    let write_end = above(write_end)?;
    let copies: Vec<_> = kept
        .iter()
        .map(|fd| above(*fd))
        .collect::<io::Result<_>>()?;
    sys::renumber(write_end, 3)?;
    for (fd, at) in copies.into_iter().zip(4..) {
        sys::renumber(fd, at)?;
    }
    close_but_unread(last)?;
    // A program that the work executes could outlive it and hold the answer's end open.
    for at in 3..last {
        let to_close = FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC);
        nix::fcntl::fcntl(sys::borrowed(at), to_close)?;
    }
    Ok((sys::borrowed(3), (4..last).map(sys::borrowed).collect()))
}

/// Closes all from `first` on but sockets with something to read. Descriptors in such a socket are closed with its last copy
/// (kernels before 6.16), which may be this one, and the close of a stranger's descriptor may block. They are closed when
/// the child exits, after its answer.
fn close_but_unread(first: i32) -> io::Result<()> {
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd >= first)
        .collect();
    let readable = PollFlags::POLLIN | PollFlags::POLLPRI;
    for fd in open {
        let is_socket = fstat(sys::borrowed(fd))
            .is_ok_and(|stat| stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFSOCK.bits());
        let is_unread =
            is_socket && poll(&mut [PollFd::new(sys::borrowed(fd), readable)], 0u8) == Ok(1);
        if !is_unread {
            sys::close_one(fd);
        }
    }
    Ok(())
}

struct Pipe<'a>(BorrowedFd<'a>);

impl Write for Pipe<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        sys::write(self.0, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn are_open(fds: &[i32]) -> Vec<u8> {
        let is_open = |fd: &i32| nix::fcntl::fcntl(sys::borrowed(*fd), FcntlArg::F_GETFD).is_ok();
        let mut answer = in_child(|| fds.iter().map(|fd| u8::from(is_open(fd))).collect()).unwrap();
        loop {
            poll(
                &mut [PollFd::new(answer.fd(), PollFlags::POLLIN)],
                60_000u16,
            )
            .unwrap();
            if let Some(bytes) = answer.read().unwrap() {
                return bytes;
            }
        }
    }

    #[test]
    fn child_closes_all_but_sockets_with_something_to_read() {
        let [
            (read, mut unread_end),
            (empty, _empty_end),
            (urgent, urgent_end),
        ] = std::array::from_fn(|_| UnixStream::pair().unwrap());
        let file = std::fs::File::open("/dev/null").unwrap();
        unread_end.write_all(b"x").unwrap();
        let flags = nix::sys::socket::MsgFlags::MSG_OOB;
        nix::sys::socket::send(urgent_end.as_raw_fd(), b"x", flags).unwrap();
        let fds = [&read, &empty, &urgent].map(AsRawFd::as_raw_fd);
        assert_eq!(
            are_open(&[fds[0], fds[1], fds[2], file.as_raw_fd()]),
            [1, 0, 1, 0]
        );
    }
}
