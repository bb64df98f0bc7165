//! One message a datagram, with descriptors. A longer message is in a sealed memory file, its first descriptor.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
    getsockopt, recv, recvmsg, sendmsg, setsockopt, socketpair, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use remit_sys::sys;
use serde::{Serialize, de::DeserializeOwned};

use crate::MOST_ARGUMENTS;

/// Maximum bytes of a datagram.
pub const MESSAGE: usize = 64 << 10;
/// Maximum bytes of a message.
pub const LONG: usize = 16 << 20;
/// Maximum descriptors: stdin, script, cgroup, the long message, the arguments.
pub const FDS: usize = 4 + MOST_ARGUMENTS;
/// The whole datagram of a long message. No message is empty, and none is this byte.
const IS_LONG: [u8; 1] = [0xff];

/// Makes a pair of sockets, of which the first waits no longer than this for a message.
pub fn pair(patience_s: i64) -> io::Result<(OwnedFd, OwnedFd)> {
    let (own_end, its) = patient_pair()?;
    set_patience(&own_end, patience_s)?;
    Ok((own_end, its))
}

pub fn patient_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (family, kind) = (AddressFamily::Unix, SockType::SeqPacket);
    Ok(socketpair(family, kind, None, SockFlag::SOCK_CLOEXEC)?)
}

pub fn set_patience(socket: &OwnedFd, seconds: i64) -> io::Result<()> {
    let patience = TimeVal::seconds(seconds);
    setsockopt(socket, sockopt::ReceiveTimeout, &patience)?;
    setsockopt(socket, sockopt::SendTimeout, &patience)?;
    Ok(())
}

pub fn is_socket(fd: BorrowedFd<'_>) -> bool {
    getsockopt(&fd, sockopt::SockType) == Ok(SockType::SeqPacket)
}

/// Sends a message. Refuses one that the other side would not take: nothing of it is sent.
pub fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = postcard::to_stdvec(message).map_err(io::Error::other)?;
    if bytes.len() > LONG || fds.len() >= FDS {
        return Err(io::Error::other("the message is too long"));
    }
    let raw = fds.iter().map(AsRawFd::as_raw_fd);
    if bytes.len() <= MESSAGE {
        return send_bytes(socket, &bytes, &raw.collect::<Vec<_>>());
    }
    let long = sys::sealed_memfd(c"message", &bytes)?;
    let raw: Vec<_> = std::iter::once(long.as_raw_fd()).chain(raw).collect();
    send_bytes(socket, &IS_LONG, &raw)
}

/// Sends a short message if that needs no waiting.
pub fn send_now<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = postcard::to_stdvec(message).map_err(io::Error::other)?;
    let raw: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    send_with(socket, &bytes, &raw, MsgFlags::MSG_DONTWAIT)
}

pub fn send_bytes(socket: BorrowedFd<'_>, bytes: &[u8], raw: &[i32]) -> io::Result<()> {
    send_with(socket, bytes, raw, MsgFlags::empty())
}

fn send_with(socket: BorrowedFd<'_>, bytes: &[u8], raw: &[i32], flags: MsgFlags) -> io::Result<()> {
    let rights = [ControlMessage::ScmRights(raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let slices = [IoSlice::new(bytes)];
    let (socket, flags) = (socket.as_raw_fd(), flags | MsgFlags::MSG_NOSIGNAL);
    loop {
        match sendmsg::<UnixAddr>(socket, &slices, control, flags, None) {
            Err(Errno::EINTR) => {}
            sent => return Ok(sent.map(drop)?),
        }
    }
}

/// Waits for the next message; `None` at the end. Touches no more memory than its bytes, because each fork pays for it.
pub fn receive<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    // unix(7): recv returns the whole length of a message, and leaves it in the queue.
    let look = MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC;
    // A process that was stopped and continued is interrupted if it has a timeout (signal(7)).
    let length = loop {
        match recv(socket.as_raw_fd(), &mut [], look) {
            Err(Errno::EINTR) => {}
            length => break length?,
        }
    };
    let mut buffer = vec![0; length.min(MESSAGE)];
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let mut space = nix::cmsg_space!([i32; FDS]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags)?;
    let mut fds = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = part {
            fds.extend(raw.into_iter().map(sys::owned));
        }
    }
    let cut = message
        .flags
        .intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
    let bytes = message.bytes;
    if bytes == 0 {
        return Ok(None);
    }
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let bytes = buffer.get(..bytes).filter(|_| !cut).ok_or_else(invalid)?;
    if bytes == IS_LONG {
        if fds.is_empty() {
            return Err(invalid());
        }
        let bytes = read_long(fds.remove(0))?;
        return decode(&bytes).map(|message| Some((message, fds)));
    }
    decode(bytes).map(|message| Some((message, fds)))
}

/// Decodes exactly one message.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn read_long(file: OwnedFd) -> io::Result<Vec<u8>> {
    // Nobody can change it any more while it is decoded.
    if !sys::is_sealed(file.as_fd()) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let file = File::from(file);
    let length = file.metadata()?.len();
    if length > LONG as u64 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_that_is_too_long_is_not_sent() {
        let (one, other) = pair(1).unwrap();
        let long = vec![0u8; LONG];
        assert!(send(one.as_fd(), &long, &[]).is_err());
        let many = [one.as_fd(); FDS];
        assert!(send(one.as_fd(), &0u8, &many).is_err());
        // The next one is the first that arrives, with as many as there may be.
        send(one.as_fd(), &7u8, &many[1..]).unwrap();
        let (got, fds) = receive::<u8>(other.as_fd()).unwrap().unwrap();
        assert_eq!((got, fds.len()), (7, FDS - 1));
    }

    #[test]
    fn long_message_arrives_whole() {
        let (one, other) = pair(1).unwrap();
        for length in [0, 1, MESSAGE, 3 << 20] {
            let sent = vec![7u8; length];
            send(one.as_fd(), &sent, &[one.as_fd()]).unwrap();
            let (got, fds) = receive::<Vec<u8>>(other.as_fd()).unwrap().unwrap();
            assert!(got == sent && fds.len() == 1, "{length}");
        }
    }
}
