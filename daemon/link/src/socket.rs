//! Non-blocking socket of the link. Messages have one or more datagrams, with descriptors. A datagram's first byte is a
//! mark: the end of a message, a part, or the end of a content (a script or standard input that the next message names). The
//! warden's end receives only bytes: a descriptor of the broker could block open(2), close(2) or fcntl(2) for as long as its
//! owner likes (file leases, SO_LINGER, FUSE). Therefore contents become memory files that the receiver makes itself.

use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};
use remit_common::{caps, frame};
use serde::de::DeserializeOwned;

use crate::foreign::{ForeignSocket, Unread};
use crate::memfd;
use crate::parts::{LinkError, Parts, Whole};
use crate::sys::{self, SCM_MAX_FD};

pub use crate::parts::Packed;

/// Maximum descriptors of one message.
const FDS: usize = 4;
#[derive(Debug)]
pub struct Link {
    end: End,
    /// Buffers are reused, because allocating and clearing them costs more than a read.
    buffers: RefCell<Buffers>,
}

#[derive(Debug)]
enum End {
    /// The broker's end: descriptors come from the warden.
    Near(OwnedFd),
    /// The warden's end: only bytes are received.
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
    /// Takes the inherited end of a broker, a non-blocking SOCK_SEQPACKET socket.
    fn from(fd: OwnedFd) -> Self {
        End::Near(fd).into()
    }
}

impl From<End> for Link {
    fn from(end: End) -> Self {
        let control = match end {
            End::Near(_) => nix::cmsg_space!([std::os::fd::RawFd; SCM_MAX_FD]),
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
    /// Returns the ends of the warden and of the broker. `close` closes the warden's end if its queued data can block the close.
    pub fn pair_closing(close: impl FnOnce(OwnedFd) + 'static) -> io::Result<(Self, Self)> {
        let (a, b) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        )?;
        // Kernels before 6.16 lack this option. Each datagram is then peeked at before it is received.
        let _ = crate::foreign::refuse_rights(&a);
        let warden = ForeignSocket::new(a, close);
        Ok((End::Foreign(warden).into(), b.into()))
    }

    /// Sends a packed message with descriptors. After [`LinkError::Full`], send the same `packed` before any other. It
    /// continues there. Errors: [`LinkError::Full`] if it would block, [`LinkError::Closed`] if nobody reads.
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
                // ETOOMANYREFS: too many descriptors are in flight. It passes when the peer reads.
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ETOOMANYREFS) => {
                    return Err(LinkError::Full);
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Receives the next message with its descriptors. At the warden's end these are its own sealed memory files.
    /// Errors: [`LinkError::Empty`] if there is none now, [`LinkError::Closed`] at the end, otherwise
    /// [`LinkError::Malformed`]: not exactly one message, or a descriptor sent to the warden's end.
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
                        fds.extend(raw.into_iter().map(sys::own));
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

/// Returns the contents as sealed files. After a failure the others are missing, and the message is refused.
fn own_files(whole: &Whole<'_>) -> Vec<OwnedFd> {
    let seal = |content: &Vec<u8>| memfd::seal(c"remit-content", content).ok();
    whole.contents().iter().map_while(seal).collect()
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
        let (warden, broker) = Link::pair_closing(drop).unwrap();
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
    fn message_has_no_earlier_descriptors() {
        let (warden, broker) = Link::pair_closing(drop).unwrap();
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
        let (warden, broker) = Link::pair_closing(drop).unwrap();
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
    fn closed_end_and_malformed_bytes_are_errors() {
        let (warden, broker) = Link::pair_closing(drop).unwrap();
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
        let (warden, broker) = Link::pair_closing(drop).unwrap();
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
        let (warden, _broker) = Link::pair_closing(drop).unwrap();
        let packed = Packed::new(&forgotten()).unwrap();
        let full = (0..100_000).find_map(|_| warden.send(&packed, &[]).err());
        assert!(matches!(full, Some(LinkError::Full)));
    }
}
