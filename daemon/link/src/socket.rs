//! The link's socket: messages of one or more datagrams, descriptors beside them, never waiting.
//!
//! The first byte of a datagram says what the rest is: the end of a message, a part of what is not finished,
//! or the end of a content (a script, standard input) that the message after it names.
//!
//! Descriptors travel one way, from the warden to the broker. What the warden's end receives is bytes, whatever the
//! broker sends: a descriptor of the broker's can make open(2), close(2) or fcntl(2) wait for as long as its owner
//! likes (file leases, SO_LINGER, FUSE). So the contents beside a message become memory files of the receiver's own.

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
use serde::de::DeserializeOwned;

use crate::foreign::{ForeignSocket, Unread};
use crate::memfd;
pub use crate::parts::Packed;
use crate::parts::{Parts, Whole};

/// Descriptors beside one message, at most.
const FDS: usize = 4;
/// What the kernel lets through at once (unix(7), SCM_MAX_FD). There is room for all of them:
/// descriptors of a truncated message could not be closed.
pub(crate) const ROOM: usize = 253;

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

/// One end of the link.
#[derive(Debug)]
pub struct Link {
    end: End,
    /// One datagram and what comes beside it, kept: to make and clear them for each would cost more than reading.
    buffers: RefCell<Buffers>,
}

/// Whether the other end is to be believed.
#[derive(Debug)]
enum End {
    /// The broker's: descriptors come from the warden.
    Near(OwnedFd),
    /// The warden's: bytes alone are received.
    Foreign(ForeignSocket),
}

struct Buffers {
    bytes: Vec<u8>,
    control: Vec<u8>,
    parts: Parts,
    fds: Vec<OwnedFd>,
}

impl std::fmt::Debug for Buffers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Buffers")
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.end {
            End::Near(fd) => fd.as_fd(),
            End::Foreign(socket) => socket.as_fd(),
        }
    }
}

impl From<OwnedFd> for Link {
    /// The end inherited by a broker; it must be a non-blocking SOCK_SEQPACKET socket.
    fn from(fd: OwnedFd) -> Self {
        End::Near(fd).into()
    }
}

impl From<End> for Link {
    fn from(end: End) -> Self {
        let control = match end {
            End::Near(_) => nix::cmsg_space!([std::os::fd::RawFd; ROOM]),
            End::Foreign(_) => Vec::new(),
        };
        Self {
            end,
            buffers: RefCell::new(Buffers {
                bytes: vec![0; caps::LINK_MESSAGE],
                control,
                parts: Parts::default(),
                fds: Vec::new(),
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

    /// Two ends, both non-blocking and close-on-exec: the warden's, which receives no descriptor, and the broker's.
    ///
    /// # Errors
    /// What socketpair(2) says.
    pub fn pair() -> io::Result<(Self, Self)> {
        Self::pair_closing(drop)
    }

    /// The same. `close` closes the warden's end, where that may wait for what lies in it.
    ///
    /// # Errors
    /// What socketpair(2) says.
    pub fn pair_closing(close: impl FnOnce(OwnedFd) + 'static) -> io::Result<(Self, Self)> {
        let (a, b) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        )?;
        // Kernels before 6.16 have no such option; then each datagram is looked at before it is received.
        let _ = crate::foreign::refuse_rights(&a);
        let warden = ForeignSocket::new(a, close);
        Ok((End::Foreign(warden).into(), b.into()))
    }

    /// Sends a packed message with descriptors. What was sent of it is not sent again: after
    /// [`LinkError::Full`] the same `packed` goes on, before any other.
    ///
    /// # Errors
    /// [`LinkError::Full`] when it would wait, [`LinkError::Closed`] when nobody reads.
    pub fn send(&self, packed: &Packed, fds: &[BorrowedFd<'_>]) -> Result<(), LinkError> {
        let raw: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        for part in packed.rest() {
            let control: &[ControlMessage<'_>] = match packed.is_at_start() && !raw.is_empty() {
                true => &rights,
                false => &[],
            };
            let bytes = [IoSlice::new(part)];
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match sendmsg::<()>(self.as_fd().as_raw_fd(), &bytes, control, flags, None) {
                Ok(_) => packed.advance(),
                // ETOOMANYREFS: too many descriptors in flight; as full, it passes when the peer reads.
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ETOOMANYREFS) => {
                    return Err(LinkError::Full);
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// The next message with its descriptors; at the warden's end these are sealed memory files of its own with
    /// the contents that came.
    ///
    /// # Errors
    /// [`LinkError::Empty`] when there is none now, [`LinkError::Closed`] at the end,
    /// [`LinkError::Malformed`] for anything that is not exactly one message, and for a descriptor where none is
    /// received.
    pub fn recv<T: DeserializeOwned>(&self) -> Result<(T, Vec<OwnedFd>), LinkError> {
        loop {
            let mut buffers = self.buffers.borrow_mut();
            let length = self.datagram(&mut buffers)?;
            let Buffers {
                bytes, parts, fds, ..
            } = &mut *buffers;
            let datagram = bytes.get(..length).unwrap_or_default();
            let Some(whole) = parts.take(datagram)? else {
                continue;
            };
            let message = frame::decode(whole.body())?;
            let mut fds = std::mem::take(fds);
            if let End::Foreign(_) = self.end {
                fds.extend(own_files(&whole));
            }
            return Ok((message, fds));
        }
    }

    /// One datagram into the buffers, its descriptors behind those of the parts before.
    fn datagram(&self, buffers: &mut Buffers) -> Result<usize, LinkError> {
        let Buffers {
            bytes,
            control,
            fds,
            ..
        } = buffers;
        let (length, is_cut) = match &self.end {
            End::Foreign(socket) => match socket.recv(bytes) {
                Ok(piece) => (piece.length, piece.is_cut),
                Err(Unread::Rights) => return Err(LinkError::Malformed),
                Err(Unread::Errno(Errno::EAGAIN)) => return Err(LinkError::Empty),
                Err(Unread::Errno(errno)) => return Err(errno.into()),
            },
            End::Near(fd) => {
                let mut slices = [IoSliceMut::new(bytes)];
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
                let message = match recvmsg::<()>(fd.as_raw_fd(), &mut slices, Some(control), flags)
                {
                    Ok(message) => message,
                    Err(Errno::EAGAIN) => return Err(LinkError::Empty),
                    Err(errno) => return Err(errno.into()),
                };
                for control in message.cmsgs()? {
                    if let ControlMessageOwned::ScmRights(raw) = control {
                        fds.extend(raw.into_iter().map(floor::own));
                    }
                }
                let is_cut = message.flags.contains(MsgFlags::MSG_TRUNC) || fds.len() > FDS;
                (message.bytes, is_cut)
            }
        };
        match (length, is_cut) {
            (0, _) if fds.is_empty() => Err(LinkError::Closed),
            (_, true) => {
                fds.clear();
                Err(LinkError::Malformed)
            }
            (length, false) => Ok(length),
        }
    }
}

/// The contents beside a message as sealed files. Where one cannot be made, it and the rest are missing: the message
/// that names them is refused.
fn own_files(whole: &Whole<'_>) -> Vec<OwnedFd> {
    let seal = |content: &Vec<u8>| memfd::seal(c"remit-content", content).ok();
    whole.contents().iter().map_while(seal).collect()
}

/// What no safe call offers: taking over descriptors that the kernel just made for us, or that a value gives up at
/// its end; and one option of a socket.
#[allow(unsafe_code)]
pub(crate) mod floor {
    use std::io;
    use std::mem::ManuallyDrop;
    use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
    use std::os::unix::fs::FileTypeExt;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Descriptor 3, once.
    pub(crate) fn inherited() -> io::Result<OwnedFd> {
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

    /// The descriptor of a value that is being dropped. Nobody may use `held` afterwards.
    pub(crate) fn take(held: &mut ManuallyDrop<OwnedFd>) -> OwnedFd {
        // SAFETY: the one caller is a destructor, which runs once and does not look at `held` again.
        unsafe { ManuallyDrop::take(held) }
    }

    /// `SO_PASSRIGHTS`, Linux 6.16; the generic number, x86 and arm alike.
    const SO_PASSRIGHTS: i32 = 83;

    /// Whether descriptors may be sent to `socket`.
    ///
    /// # Errors
    /// ENOPROTOOPT where the kernel has no such option.
    pub(crate) fn passes_rights(socket: impl AsFd) -> io::Result<bool> {
        let (mut value, mut length) = (1_i32, size_of::<i32>() as nix::libc::socklen_t);
        let (level, raw) = (nix::libc::SOL_SOCKET, socket.as_fd().as_raw_fd());
        let (at, length) = ((&raw mut value).cast(), &raw mut length);
        // SAFETY: one integer and its length, both valid for the call.
        match unsafe { nix::libc::getsockopt(raw, level, SO_PASSRIGHTS, at, length) } {
            0 => Ok(value != 0),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Has the kernel refuse descriptors that are sent to `socket` from now on.
    ///
    /// # Errors
    /// ENOPROTOOPT where the kernel has no such option.
    pub(crate) fn refuse_rights(socket: impl AsFd) -> io::Result<()> {
        let (value, length) = (0_i32, size_of::<i32>() as nix::libc::socklen_t);
        let (level, raw) = (nix::libc::SOL_SOCKET, socket.as_fd().as_raw_fd());
        let at = (&raw const value).cast();
        // SAFETY: one integer, valid for the call.
        match unsafe { nix::libc::setsockopt(raw, level, SO_PASSRIGHTS, at, length) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    pub(crate) fn own(raw: RawFd) -> OwnedFd {
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
    fn a_large_message_travels_in_parts() {
        let (warden, broker) = Link::pair().unwrap();
        for length in [caps::LINK_MESSAGE - 40, caps::LINK_MESSAGE, 1 << 20] {
            let message = ToBroker::Session {
                session: 1,
                owner: Owner {
                    uid: 2,
                    user: "u".repeat(length),
                },
            };
            let packed = Packed::new(&message).unwrap();
            let (_held, fd) = io::pipe().unwrap();
            let back = loop {
                let sent = warden.send(&packed, &[fd.as_fd()]);
                match (sent, broker.recv::<ToBroker>()) {
                    (Ok(()) | Err(LinkError::Full), Ok(back)) => break back,
                    (Err(LinkError::Full), Err(LinkError::Empty)) => {}
                    other => panic!("{other:?}"),
                }
            };
            assert!(back.0 == message && back.1.len() == 1, "{length}");
        }
        let over = "u".repeat(caps::LINK_PARTS);
        assert!(matches!(Packed::new(&over), Err(LinkError::Malformed)));
    }

    #[test]
    fn a_closed_end_is_told_and_strange_bytes_are_refused() {
        let (warden, broker) = Link::pair().unwrap();
        for bytes in [&b"\x00\xff\xff"[..], b"\x03", b"\x00", b"\x00\x00\x00"] {
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
