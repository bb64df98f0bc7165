//! A socket whose other end is somebody else's.
//!
//! Whoever has the other end may send descriptors with their bytes (unix(7), SCM_RIGHTS). Nobody here wants one. But to
//! drop one that was sent is to close it, in the context of whoever reads or closes this socket, and a close can wait:
//! a TCP socket with SO_LINGER, for years. To install one is no better: its close(2) flushes (FUSE).
//!
//! Since Linux 6.16 the kernel refuses the sender (SO_PASSRIGHTS). Where it does not, or did not yet when the other end
//! connected, each read looks first, and the socket is closed by somebody who may hang.

use std::io::{self, IoSliceMut};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, recvmsg, setsockopt, sockopt};

use crate::socket::floor;

/// Has the kernel refuse descriptors that are sent to `socket` from now on, and to what connects to it.
///
/// # Errors
/// ENOPROTOOPT where the kernel has no such option.
pub fn refuse_rights(socket: impl AsFd) -> io::Result<()> {
    floor::refuse_rights(socket)
}

/// The near end of a socket whose other end is not trusted. Dropped, it is closed where that may wait.
pub struct ForeignSocket {
    fd: ManuallyDrop<OwnedFd>,
    /// No descriptor was ever in it: the kernel has refused them from the beginning.
    is_clean: bool,
    close: Option<Box<dyn FnOnce(OwnedFd)>>,
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Bytes.
    pub length: usize,
    /// It was a datagram of more bytes.
    pub is_cut: bool,
}

/// Why nothing was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// Descriptors come next. They stay where they are: read no more, and drop the socket.
    Rights,
    /// recvmsg(2) says so; EAGAIN when there is nothing now.
    Errno(Errno),
}

impl From<Errno> for Unread {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<Unread> for io::Error {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Rights => Self::new(io::ErrorKind::InvalidData, "descriptors were sent"),
            Unread::Errno(errno) => errno.into(),
        }
    }
}

impl std::fmt::Debug for ForeignSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ForeignSocket({})", self.as_raw_fd())
    }
}

impl AsFd for ForeignSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for ForeignSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl ForeignSocket {
    /// Takes a socket. `close` gets it at the end where the kernel has not refused descriptors from the beginning: it
    /// must not close it in a thread or process that serves.
    pub fn new(fd: OwnedFd, close: impl FnOnce(OwnedFd) + 'static) -> Self {
        // Inherited from the listener at connect(2), so before the other end could send anything.
        let is_clean = matches!(floor::passes_rights(&fd), Ok(false));
        if !is_clean {
            // Else a read would step over, and so drop, an out-of-band byte with what lies beside it.
            let _ = setsockopt(&fd, sockopt::OobInline, &true);
        }
        Self {
            fd: ManuallyDrop::new(fd),
            is_clean,
            close: Some(Box::new(close)),
        }
    }

    /// Reads bytes and nothing else. Never waits.
    ///
    /// # Errors
    /// See [`Unread`].
    pub fn recv(&self, into: &mut [u8]) -> Result<Piece, Unread> {
        if self.is_clean {
            return self.receive(into, MsgFlags::empty());
        }
        // A look ends behind the first part that has descriptors, and does not take them.
        let seen = self.receive(into, MsgFlags::MSG_PEEK)?;
        let seen_part = into.get_mut(..seen.length).unwrap_or_default();
        if seen.length > 0 {
            recv(self.as_raw_fd(), seen_part, MsgFlags::MSG_DONTWAIT)?;
        }
        Ok(seen)
    }

    fn receive(&self, into: &mut [u8], also: MsgFlags) -> Result<Piece, Unread> {
        let mut slices = [IoSliceMut::new(into)];
        let flags = MsgFlags::MSG_DONTWAIT | also;
        let message = recvmsg::<()>(self.as_raw_fd(), &mut slices, None, flags)?;
        if message.flags.contains(MsgFlags::MSG_CTRUNC) {
            return Err(Unread::Rights);
        }
        Ok(Piece {
            length: message.bytes,
            is_cut: message.flags.contains(MsgFlags::MSG_TRUNC),
        })
    }
}

impl Drop for ForeignSocket {
    fn drop(&mut self) {
        let fd = floor::take(&mut self.fd);
        match self.close.take() {
            Some(close) if !self.is_clean => close(fd),
            // Nothing lies in it that could make this wait.
            _ => drop(fd),
        }
    }
}

#[cfg(test)]
mod tests;
