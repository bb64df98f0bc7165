//! `network.unix_sockets`: listening Unix sockets. Uses sock_diag(7), which reports the length of each name. In
//! /proc/net/unix and in the output of ss(8) a line feed in a name starts a line that looks like another socket.

use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::ExitCode;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use remit_common::text;
use serde::Serialize;

use crate::text::lines;

/// Linux: netlink.h, sock_diag.h, unix_diag.h.
const HEADER: usize = 16;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const REQUEST_DUMP: u16 = 0x301;
const BY_FAMILY: u16 = 20;
const UNIX: u8 = 1;
const LISTEN: u32 = 10;
const SHOW_NAME: u32 = 1;
const NAME: u16 = 0;
/// Sizes of the fixed part of an answer, and of an attribute header.
const FIXED: usize = 16;
const ATTRIBUTE: usize = 4;
/// The kernel writes at most 32 KiB at a time.
const BUFFER: usize = 64 << 10;
/// Maximum characters of a name: sockaddr_un has 108 bytes, each up to four characters when escaped.
const SHOWN: usize = 500;

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Listening {
    /// A path, or `@` and an abstract name.
    path: String,
    kind: &'static str,
}

pub fn list() -> Result<ExitCode, String> {
    lines(listening().map_err(|errno| format!("the kernel does not list Unix sockets: {errno}"))?)
}

fn listening() -> Result<BTreeSet<Listening>, Errno> {
    let fd: OwnedFd = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    let kernel = NetlinkAddr::new(0, 0);
    sendto(fd.as_raw_fd(), &question(), &kernel, MsgFlags::empty())?;
    let mut found = BTreeSet::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = match recv(fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC) {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        let mut answer = buffer.get(..length).ok_or(Errno::EMSGSIZE)?;
        while let Some((kind, payload, rest)) = message(answer) {
            match kind {
                DONE => return Ok(found),
                ERROR => {
                    let number = number(payload, 0).unwrap_or(0).cast_signed();
                    return Err(Errno::from_raw(number.wrapping_neg()));
                }
                _ => found.extend(one(payload)),
            }
            answer = rest;
        }
    }
}

fn question() -> Vec<u8> {
    let mut body = vec![UNIX, 0, 0, 0];
    for part in [1 << LISTEN, 0, SHOW_NAME, 0, 0] {
        body.extend(u32::to_ne_bytes(part));
    }
    let length = u32::try_from(HEADER + body.len()).unwrap_or(0);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(REQUEST_DUMP.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes
}

fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(number(bytes, 0)?).ok()?;
    let payload = bytes.get(HEADER..length)?;
    let rest = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((short(bytes, 4)?, payload, rest))
}

/// Parses `struct unix_diag_msg` and its attributes. Skips unnamed sockets, because nobody can connect to them.
fn one(payload: &[u8]) -> Option<Listening> {
    let kind = match payload.get(1)? {
        1 => "stream",
        5 => "seqpacket",
        _ => "datagram",
    };
    let mut attributes = payload.get(FIXED..)?;
    loop {
        let length = usize::from(short(attributes, 0)?);
        let value = attributes.get(ATTRIBUTE..length)?;
        if short(attributes, 2)? == NAME {
            let path = match value.split_first()? {
                (0, name) => format!("@{}", text::line(name, SHOWN)),
                _ => {
                    let end = value.iter().position(|byte| *byte == 0);
                    text::line(value.get(..end.unwrap_or(value.len()))?, SHOWN)
                }
            };
            return Some(Listening { path, kind });
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}
