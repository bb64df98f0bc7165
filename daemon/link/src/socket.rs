//! The link's socket: one message a datagram, descriptors beside it, never waiting.
//!
//! The first byte of a datagram says where the message is: behind it, or in the
//! sealed memory file that is the first descriptor ([`caps::LINK_MESSAGE`]).

use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
    getsockname, getsockopt, recvmsg, sendmsg, socketpair, sockopt,
};
use remit_common::caps;
use remit_common::frame::{self, FrameError};
use serde::{Serialize, de::DeserializeOwned};

use crate::memfd;

/// Descriptors beside one message, at most.
const FDS: usize = 4;
/// What the kernel lets through at once (unix(7), SCM_MAX_FD). There is room for all of them:
/// descriptors of a truncated message could not be closed.
const ROOM: usize = 253;
const INLINE: u8 = 0;
const IN_MEMFD: u8 = 1;

/// Why a message was not sent or received.
#[derive(Debug)]
pub enum LinkError {
    /// The other side does not read fast enough just now.
    Full,
    /// Nothing to read just now.
    Empty,
    /// The other side has closed.
    Closed,
    /// The bytes are no message, or the descriptors are too many.
    Malformed,
    /// The socket failed.
    Io(io::Error),
}

impl std::fmt::Display for LinkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full => f.write_str("link is full"),
            Self::Empty => f.write_str("link is empty"),
            Self::Closed => f.write_str("link is closed"),
            Self::Malformed => f.write_str("link carried what is no message"),
            Self::Io(error) => write!(f, "link: {error}"),
        }
    }
}

impl std::error::Error for LinkError {}

impl From<Errno> for LinkError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::EPIPE | Errno::ECONNRESET => Self::Closed,
            other => Self::Io(other.into()),
        }
    }
}

impl From<FrameError> for LinkError {
    fn from(_: FrameError) -> Self {
        Self::Malformed
    }
}

/// A message made ready to send: bytes, and the memory file where they did not fit.
#[derive(Debug)]
pub struct Packed {
    bytes: Vec<u8>,
    memfd: Option<OwnedFd>,
    size: usize,
}

impl Packed {
    /// Bytes of the message, wherever they are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Packs a message.
    ///
    /// # Errors
    /// [`LinkError::Malformed`] above [`caps::LINK_MEMFD`], [`LinkError::Io`] when no memory file can be made.
    pub fn new<T: Serialize>(message: &T) -> Result<Self, LinkError> {
        // The frame's header is room for our first byte.
        let frame = frame::encode(message, caps::LINK_MEMFD)?;
        let body = frame.get(frame::HEADER..).unwrap_or_default();
        if body.len() < caps::LINK_MESSAGE {
            let mut bytes = Vec::with_capacity(body.len() + 1);
            bytes.push(INLINE);
            bytes.extend_from_slice(body);
            return Ok(Self {
                bytes,
                memfd: None,
                size: body.len(),
            });
        }
        let memfd = memfd::seal(c"remit-message", body).map_err(LinkError::Io)?;
        Ok(Self {
            bytes: vec![IN_MEMFD],
            memfd: Some(memfd),
            size: body.len(),
        })
    }
}

/// One end of the link.
#[derive(Debug)]
pub struct Link {
    fd: OwnedFd,
    /// One datagram and what comes beside it, kept: to make and clear them anew for each would cost more than reading.
    buffers: RefCell<Buffers>,
}

struct Buffers {
    bytes: Vec<u8>,
    control: Vec<u8>,
}

impl std::fmt::Debug for Buffers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Buffers")
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<OwnedFd> for Link {
    /// The end inherited by a broker; it must be a non-blocking SOCK_SEQPACKET socket.
    fn from(fd: OwnedFd) -> Self {
        Self {
            fd,
            buffers: RefCell::new(Buffers {
                bytes: vec![0; caps::LINK_MESSAGE],
                control: nix::cmsg_space!([std::os::fd::RawFd; ROOM]),
            }),
        }
    }
}

impl Link {
    /// The broker's end: descriptor 3 of a process that was just started. Call it first thing.
    ///
    /// # Errors
    /// When it was called before, or descriptor 3 is no unix SOCK_SEQPACKET socket.
    pub fn inherited() -> io::Result<Self> {
        let fd = floor::inherited()?;
        let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, why.to_owned()));
        if getsockname::<UnixAddr>(fd.as_raw_fd()).is_err()
            || getsockopt(&fd, sockopt::SockType)? != SockType::SeqPacket
        {
            return refuse("descriptor 3 is not the link");
        }
        fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        Ok(fd.into())
    }

    /// Two ends, both non-blocking and close-on-exec.
    ///
    /// # Errors
    /// What socketpair(2) says.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        )?;
        Ok((a.into(), b.into()))
    }

    /// Sends a packed message with descriptors, or nothing of it.
    ///
    /// # Errors
    /// [`LinkError::Full`] when it would wait, [`LinkError::Closed`] when nobody reads.
    pub fn send(&self, packed: &Packed, fds: &[BorrowedFd<'_>]) -> Result<(), LinkError> {
        let raw: Vec<_> = packed
            .memfd
            .iter()
            .map(AsRawFd::as_raw_fd)
            .chain(fds.iter().map(AsRawFd::as_raw_fd))
            .collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
        let bytes = [IoSlice::new(&packed.bytes)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match sendmsg::<()>(self.fd.as_raw_fd(), &bytes, control, flags, None) {
            Ok(_) => Ok(()),
            // ETOOMANYREFS: too many descriptors in flight; as full, it passes when the peer reads.
            Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ETOOMANYREFS) => Err(LinkError::Full),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The next message with its descriptors.
    ///
    /// # Errors
    /// [`LinkError::Empty`] when there is none now, [`LinkError::Closed`] at the end,
    /// [`LinkError::Malformed`] for anything that is not exactly one message.
    pub fn recv<T: DeserializeOwned>(&self) -> Result<(T, Vec<OwnedFd>), LinkError> {
        let mut buffers = self.buffers.borrow_mut();
        let Buffers { bytes, control } = &mut *buffers;
        let (length, mut fds, cut) = {
            let mut slices = [IoSliceMut::new(bytes)];
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
            let message =
                match recvmsg::<()>(self.fd.as_raw_fd(), &mut slices, Some(control), flags) {
                    Ok(message) => message,
                    Err(Errno::EAGAIN) => return Err(LinkError::Empty),
                    Err(errno) => return Err(errno.into()),
                };
            let mut fds = Vec::new();
            for control in message.cmsgs()? {
                if let ControlMessageOwned::ScmRights(raw) = control {
                    fds.extend(raw.into_iter().map(floor::own));
                }
            }
            let cut = message.flags.contains(MsgFlags::MSG_TRUNC) || fds.len() > FDS;
            (message.bytes, fds, cut)
        };
        if length == 0 && fds.is_empty() {
            return Err(LinkError::Closed);
        }
        if cut {
            return Err(LinkError::Malformed);
        }
        match bytes.get(..length) {
            Some([INLINE, body @ ..]) => Ok((frame::decode(body)?, fds)),
            Some([IN_MEMFD]) if !fds.is_empty() => {
                let body = memfd::read(fds.remove(0), caps::LINK_MEMFD)
                    .map_err(|_| LinkError::Malformed)?;
                Ok((frame::decode(&body)?, fds))
            }
            Some(_) | None => Err(LinkError::Malformed),
        }
    }
}

/// What no safe call offers: taking over descriptors that the kernel just made for us.
#[allow(unsafe_code)]
mod floor {
    use std::io;
    use std::os::fd::{FromRawFd, OwnedFd, RawFd};
    use std::os::unix::fs::FileTypeExt;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Descriptor 3, once.
    pub(super) fn inherited() -> io::Result<OwnedFd> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        // fstat(2) by way of /proc: no owner is needed to see that it is open, and a socket.
        if !std::fs::metadata("/proc/self/fd/3")?
            .file_type()
            .is_socket()
            || TAKEN.swap(true, Ordering::SeqCst)
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "descriptor 3 is not the link, or was taken",
            ));
        }
        // SAFETY: descriptor 3 is open, as just seen. The process got it from its parent for
        // this use, nothing of ours opens sockets before, and TAKEN makes this the only owner.
        Ok(unsafe { OwnedFd::from_raw_fd(3) })
    }

    pub(super) fn own(raw: RawFd) -> OwnedFd {
        // SAFETY: recvmsg(2) installed `raw` in this process for this message alone, it is
        // open, and the only copy of the number is the one we were handed.
        unsafe { OwnedFd::from_raw_fd(raw) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Owner, ToBroker, ToWarden};
    use remit_common::names::JobId;
    use std::io::{Read, Write};

    fn forgotten() -> ToBroker {
        ToBroker::Forgotten {
            job: JobId([7; 16]),
        }
    }

    #[test]
    fn messages_and_descriptors_arrive_together() {
        let (warden, broker) = Link::pair().unwrap();
        let (mut reader, mut writer) = io::pipe().unwrap();
        let packed = Packed::new(&forgotten()).unwrap();
        warden.send(&packed, &[writer.as_fd()]).unwrap();
        writer.write_all(b"x").unwrap();
        drop(writer);
        let (message, fds) = broker.recv::<ToBroker>().unwrap();
        assert_eq!((message, fds.len()), (forgotten(), 1));
        drop(fds);
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"x");
        assert!(matches!(broker.recv::<ToBroker>(), Err(LinkError::Empty)));
    }

    #[test]
    fn a_message_has_no_descriptor_of_the_one_before() {
        let (warden, broker) = Link::pair().unwrap();
        let (_reader, writer) = io::pipe().unwrap();
        let packed = Packed::new(&forgotten()).unwrap();
        for count in [2, 0, 1, 0] {
            let fds = vec![writer.as_fd(); count];
            warden.send(&packed, &fds).unwrap();
            assert_eq!(broker.recv::<ToBroker>().unwrap().1.len(), count);
        }
    }

    #[test]
    fn a_large_message_travels_sealed() {
        let (warden, broker) = Link::pair().unwrap();
        for length in [caps::LINK_MESSAGE - 40, caps::LINK_MESSAGE, 1 << 20] {
            let message = ToBroker::Session {
                session: 1,
                owner: Owner {
                    uid: 2,
                    user: "u".repeat(length),
                },
            };
            warden.send(&Packed::new(&message).unwrap(), &[]).unwrap();
            let (back, fds) = broker.recv::<ToBroker>().unwrap();
            assert!(back == message && fds.is_empty(), "{length}");
        }
        let over = "u".repeat(caps::LINK_MEMFD);
        assert!(matches!(Packed::new(&over), Err(LinkError::Malformed)));
    }

    #[test]
    fn a_closed_end_is_told_and_strange_bytes_are_refused() {
        let (warden, broker) = Link::pair().unwrap();
        for bytes in [
            &b"\x00\xff\xff"[..],
            b"\x01",
            b"\x02",
            b"\x00",
            b"\x00\x00\x00",
        ] {
            nix::sys::socket::send(broker.as_fd().as_raw_fd(), bytes, MsgFlags::empty()).unwrap();
            let got = warden.recv::<ToWarden>();
            assert!(
                matches!(got, Err(LinkError::Malformed)),
                "{bytes:?}: {got:?}"
            );
        }
        drop(broker);
        assert!(matches!(warden.recv::<ToWarden>(), Err(LinkError::Closed)));
        let packed = Packed::new(&forgotten()).unwrap();
        assert!(matches!(warden.send(&packed, &[]), Err(LinkError::Closed)));
    }

    #[test]
    fn too_many_descriptors_are_refused_and_closed() {
        let (warden, broker) = Link::pair().unwrap();
        let (reader, writer) = io::pipe().unwrap();
        let many = [writer.as_fd(); FDS + 1];
        warden
            .send(&Packed::new(&forgotten()).unwrap(), &many)
            .unwrap();
        assert!(matches!(
            broker.recv::<ToBroker>(),
            Err(LinkError::Malformed)
        ));
        drop(writer);
        let mut reader = reader;
        assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0, "a descriptor leaked");
    }

    #[test]
    fn a_full_link_says_so() {
        let (warden, _broker) = Link::pair().unwrap();
        let packed = Packed::new(&forgotten()).unwrap();
        let full = (0..100_000).find_map(|_| warden.send(&packed, &[]).err());
        assert!(matches!(full, Some(LinkError::Full)));
    }
}
