//! Netlink dumps: one request, many messages in answer (netlink(7)). Read-only; the kernel answers unprivileged users.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use crate::read::Why;

const PATIENCE: Duration = Duration::from_secs(1);
/// The kernel writes at most 32 KiB at a time.
const BUFFER: usize = 64 << 10;

const HEADER: usize = 16;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const REQUEST_DUMP: u16 = 0x301;

/// Sends `body` as a message of `kind`, and passes kind and payload of each answer to `each`. Fails after a second.
pub(crate) fn dump(
    protocol: SockProtocol,
    kind: u16,
    body: &[u8],
    mut each: impl FnMut(u16, &[u8]),
) -> Result<(), Why> {
    let cannot = |what: &str, err: Errno| format!("netlink: cannot {what}: {}", err.desc());
    let fd: OwnedFd = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        protocol,
    )
    .map_err(|err| cannot("open a socket", err))?;
    let kernel = NetlinkAddr::new(0, 0);
    sendto(
        fd.as_raw_fd(),
        &request(kind, body),
        &kernel,
        MsgFlags::empty(),
    )
    .map_err(|err| cannot("ask", err))?;
    let end = Instant::now() + PATIENCE;
    let mut buffer = vec![0; BUFFER];
    loop {
        // The kernel continues a dump inside recv, so a non-blocking socket has data until the dump is done.
        let length = match recv(fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC) {
            Err(Errno::EINTR) => continue,
            other => other.map_err(|err| cannot("read the answer", err))?,
        };
        let answer = buffer
            .get(..length)
            .ok_or("netlink: an answer was cut off")?;
        for message in messages(answer) {
            match message.kind {
                ERROR | DONE => {
                    return match int(message.payload, 0) {
                        None | Some(0) => Ok(()),
                        Some(number) => Err(cannot("list", Errno::from_raw(number.wrapping_neg()))),
                    };
                }
                kind => each(kind, message.payload),
            }
        }
        if Instant::now() > end {
            return Err("netlink: the list was not done within 1 s".into());
        }
    }
}

fn request(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(REQUEST_DUMP.to_ne_bytes());
    // Sequence number and port. One request per socket needs neither.
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes
}

#[derive(Debug, PartialEq, Eq)]
struct Message<'a> {
    kind: u16,
    payload: &'a [u8],
}

/// Returns the messages in a buffer. Stops at the first incomplete one.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(uint(bytes, 0)?).ok()?;
        let kind = short(bytes, 4)?;
        let payload = bytes.get(HEADER..length)?;
        bytes = bytes.get(align(length)..).unwrap_or_default();
        Some(Message { kind, payload })
    })
}

/// Returns kind and value of the attributes in a payload. Stops at the first incomplete one.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(short(bytes, 0)?);
        // The upper two bits are flags.
        let kind = short(bytes, 2)? & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(align(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Rounds up to a multiple of 4, as netlink aligns.
pub(crate) const fn align(length: usize) -> usize {
    length.saturating_add(3) & !3
}

fn array<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

pub(crate) fn byte(bytes: &[u8], offset: usize) -> Option<u8> {
    bytes.get(offset).copied()
}

pub(crate) fn short(bytes: &[u8], offset: usize) -> Option<u16> {
    array(bytes, offset).map(u16::from_ne_bytes)
}

pub(crate) fn uint(bytes: &[u8], offset: usize) -> Option<u32> {
    array(bytes, offset).map(u32::from_ne_bytes)
}

fn int(bytes: &[u8], offset: usize) -> Option<i32> {
    array(bytes, offset).map(i32::from_ne_bytes)
}

pub(crate) fn long(bytes: &[u8], offset: usize) -> Option<u64> {
    array(bytes, offset).map(u64::from_ne_bytes)
}

#[cfg(test)]
pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(4 + value.len())
        .unwrap()
        .to_ne_bytes()
        .to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(align(bytes.len()), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_and_attributes_end_at_torn_one() {
        let mut bytes = request(16, b"abcde");
        bytes.resize(align(bytes.len()), 0);
        bytes.extend(request(17, b""));
        bytes.extend(&request(18, b"abc")[..10]);
        let kinds: Vec<_> = messages(&bytes)
            .map(|message| (message.kind, message.payload.to_vec()))
            .collect();
        assert_eq!(kinds, [(16, b"abcde".to_vec()), (17, vec![])]);

        let mut bytes = attribute(3, b"lo\0");
        bytes.extend(attribute(0x8012, &[]));
        bytes.extend([200, 0, 1, 0, 9]);
        let found: Vec<_> = attributes(&bytes).collect();
        assert_eq!(found, [(3, &b"lo\0"[..]), (0x12, &[][..])]);
    }

    #[test]
    fn length_below_the_header_does_not_loop() {
        assert_eq!(messages(&[0; 64]).count(), 0);
        assert_eq!(attributes(&[0; 64]).count(), 0);
    }

    #[test]
    fn refusal_of_the_kernel_is_an_error() {
        // rtnetlink has no message of kind 9.
        let refused = dump(SockProtocol::NetlinkRoute, 9, &[0; 16], |_, _| {});
        assert!(refused.is_err(), "{refused:?}");
    }

    proptest! {
        #[test]
        fn odd_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (messages(&bytes).count(), attributes(&bytes).count());
        }
    }
}
