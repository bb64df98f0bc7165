//! A socket whose other end is not trusted. It can send descriptors with its bytes (unix(7), SCM_RIGHTS); none is
//! wanted. Dropping one closes it in the context of whoever reads or closes this socket, which can block: for a TCP
//! socket with SO_LINGER, for years. Installing it does not help, because its close(2) flushes (FUSE). Since Linux 6.16
//! the kernel can refuse the sender (SO_PASSRIGHTS). Otherwise, or if the other end connected before that, each read
//! peeks first, and a process or thread that may hang closes the socket.

use std::io::{self, IoSliceMut};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, recvmsg, setsockopt, sockopt};

use crate::sys;
pub use crate::sys::refuse_rights;

/// Near end of a socket whose other end is not trusted. Drop closes it where blocking is harmless.
pub struct ForeignSocket {
    fd: ManuallyDrop<OwnedFd>,
    /// The kernel refused descriptors from the beginning, so the socket never held one.
    is_clean: bool,
    close: Option<Box<dyn FnOnce(OwnedFd)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub length: usize,
    /// The datagram had more bytes.
    pub is_cut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// The next bytes carry descriptors, which stay in the socket. Read no more and drop the socket.
    Rights,
    /// Error of recvmsg(2); EAGAIN if there is nothing now.
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
    /// Takes a socket. Drop passes it to `close`, which must not block, unless the kernel refused descriptors before.
    pub fn new(fd: OwnedFd, close: impl FnOnce(OwnedFd) + 'static) -> Self {
        // The option is inherited from the listener at connect(2), before the other end can send.
        let is_clean = matches!(sys::passes_rights(&fd), Ok(false));
        if !is_clean {
            // Without SO_OOBINLINE, a read skips an out-of-band byte and drops the descriptors attached to it.
            let _ = setsockopt(&fd, sockopt::OobInline, &true);
        }
        Self {
            fd: ManuallyDrop::new(fd),
            is_clean,
            close: Some(Box::new(close)),
        }
    }

    pub fn recv(&self, into: &mut [u8]) -> Result<Piece, Unread> {
        if self.is_clean {
            return self.receive(into, MsgFlags::empty());
        }
        // MSG_PEEK stops after the first part with descriptors and does not receive them.
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
        let fd = sys::take(&mut self.fd);
        match self.close.take() {
            Some(close) if !self.is_clean => close(fd),
            // The socket holds nothing that can block the close.
            _ => drop(fd),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;
    use std::rc::Rc;
    use std::time::Instant;

    use nix::libc::linger;
    use nix::sys::socket::{ControlMessage, sendmsg};

    /// A TCP socket whose close blocks: unsent data, a peer that does not read, and SO_LINGER.
    fn lingering() -> (TcpListener, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stuck = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let linger = linger {
            l_onoff: 1,
            l_linger: 20,
        };
        setsockopt(&stuck, sockopt::Linger, &linger).unwrap();
        stuck.set_nonblocking(true).unwrap();
        while (&stuck).write(&[0; 65_536]).is_ok() {}
        (listener, stuck)
    }

    fn send_rights(to: &UnixStream, fd: impl AsRawFd, also: MsgFlags) {
        let raw = [fd.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&raw)];
        let slices = [io::IoSlice::new(b"x")];
        sendmsg::<()>(to.as_raw_fd(), &slices, &rights, also, None).unwrap();
    }

    /// A pair whose near end accepts descriptors, as all sockets do before Linux 6.16.
    fn pair() -> (ForeignSocket, UnixStream, Rc<Cell<Option<OwnedFd>>>) {
        let (near, far) = UnixStream::pair().unwrap();
        let closed = Rc::new(Cell::new(None));
        let keep = Rc::clone(&closed);
        let near = ForeignSocket::new(near.into(), move |fd| keep.set(Some(fd)));
        assert!(!near.is_clean);
        (near, far, closed)
    }

    #[test]
    fn w01_descriptors_are_seen_and_neither_received_nor_released() {
        for flags in [MsgFlags::empty(), MsgFlags::MSG_OOB] {
            let (near, mut far, closed) = pair();
            far.write_all(b"before").unwrap();
            let (_listener, stuck) = lingering();
            send_rights(&far, stuck, flags);
            far.write_all(b"behind").unwrap();
            let start = Instant::now();
            let mut bytes = [0; 100];
            let read = near.recv(&mut bytes);
            // The earlier bytes may arrive or be refused together with the descriptors. Later bytes never arrive.
            if let Ok(piece) = read {
                assert_eq!(&bytes[..piece.length], b"before");
                assert_eq!(near.recv(&mut bytes), Err(Unread::Rights));
            } else {
                assert_eq!(read, Err(Unread::Rights));
            }
            assert_eq!(near.recv(&mut bytes), Err(Unread::Rights));
            drop(near);
            // The socket was passed to `close` with the descriptor in it. Its linger time is 20 s.
            let fd = closed.take().unwrap();
            assert!(start.elapsed().as_secs() < 15);
            std::thread::spawn(|| drop(fd));
        }
    }

    #[test]
    fn w01_bytes_alone_are_read_as_ever() {
        let (near, mut far, closed) = pair();
        let mut bytes = [0; 4];
        assert_eq!(near.recv(&mut bytes), Err(Unread::Errno(Errno::EAGAIN)));
        far.write_all(b"abcdef").unwrap();
        let piece = |length| {
            Ok(Piece {
                length,
                is_cut: false,
            })
        };
        assert_eq!(near.recv(&mut bytes), piece(4));
        assert_eq!(&bytes, b"abcd");
        assert_eq!(near.recv(&mut bytes), piece(2));
        assert_eq!(&bytes[..2], b"ef");
        drop(far);
        assert_eq!(near.recv(&mut bytes), piece(0));
        drop(near);
        assert!(closed.take().is_some());
    }

    #[test]
    fn w01_refusing_socket_is_closed_at_once() {
        let (near, far) = UnixStream::pair().unwrap();
        if refuse_rights(&near).is_err() {
            eprintln!("this kernel has no SO_PASSRIGHTS");
            return;
        }
        let near = ForeignSocket::new(near.into(), |_| panic!("nothing lies in it"));
        let (_reader, writer) = io::pipe().unwrap();
        let raw = [writer.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&raw)];
        let slices = [io::IoSlice::new(b"x")];
        let sent = sendmsg::<()>(far.as_raw_fd(), &slices, &rights, MsgFlags::empty(), None);
        assert_eq!(sent, Err(Errno::EPERM));
        drop(near);
    }
}
