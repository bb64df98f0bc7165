//! The kernel's own audit, asked for by `audit.kernel` of remit.toml: whether it can be heard here, and the
//! socket for the broker. Nothing of it is read in this process.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto,
    socket,
};

/// `AUDIT_NLGRP_READLOG`, as a bit: every record that is made. `CAP_AUDIT_READ` binds it.
const READLOG: u32 = 1;
/// `AUDIT_GET`, the question how the audit is set. `CAP_AUDIT_CONTROL` in the first pid namespace asks it.
const GET: u16 = 1000;
/// How long the start-up waits for the answer, which comes from a thread of the kernel's.
const PATIENCE: u16 = 2000;

/// Whether what walls refuse is heard from the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelAudit {
    /// Nobody asked for it: walls say nothing to the audit, so that no job can fill its log.
    Unwanted,
    /// It is. Walls are told to say what they refuse.
    Heard,
    /// It was asked for and cannot be had, for this reason. Walls say nothing.
    Unheard(String),
}

impl KernelAudit {
    /// Looks once whether the audit is on and can be heard. For the start-up: it may wait.
    pub fn ask(wanted: bool) -> Self {
        if !wanted {
            return Self::Unwanted;
        }
        let why = match is_on() {
            Ok(true) => match listen() {
                Ok(_) => return Self::Heard,
                Err(error) => format!("it cannot be listened to ({error}; CAP_AUDIT_READ)"),
            },
            Ok(false) => {
                "it is off ('auditctl -e 1', or audit=1 on the kernel's command line)".into()
            }
            Err(error) => format!(
                "it cannot be asked ({error}); in a container, or without CAP_AUDIT_CONTROL, it never can"
            ),
        };
        Self::Unheard(why)
    }

    /// Whether walls shall tell it what they refuse.
    pub fn is_heard(&self) -> bool {
        *self == Self::Heard
    }

    /// Why it is not heard though somebody asked for it, in one line.
    pub fn why_not(&self) -> Option<&str> {
        match self {
            Self::Unheard(why) => Some(why),
            Self::Unwanted | Self::Heard => None,
        }
    }

    /// A socket for a broker, with nothing in it of what was before.
    pub fn socket(&self) -> Option<OwnedFd> {
        if !self.is_heard() {
            return None;
        }
        listen()
            .inspect_err(|error| say!("the kernel's audit is no longer heard: {error}"))
            .ok()
    }
}

fn netlink() -> nix::Result<OwnedFd> {
    socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        SockProtocol::NetlinkAudit,
    )
}

fn listen() -> nix::Result<OwnedFd> {
    let socket = netlink()?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, READLOG))?;
    Ok(socket)
}

/// Asks whether records are made at all.
fn is_on() -> io::Result<bool> {
    let socket = netlink()?;
    let question = question();
    let kernel = NetlinkAddr::new(0, 0);
    sendto(socket.as_raw_fd(), &question, &kernel, MsgFlags::empty())?;
    let mut buffer = [0; 1024];
    // The acknowledgement comes first, the answer after it.
    for _ in 0..4 {
        let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, PollTimeout::from(PATIENCE))? == 0 {
            break;
        }
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        if let Some(on) = answer(buffer.get(..length).unwrap_or_default())? {
            return Ok(on);
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// `struct nlmsghdr` alone: the length, the kind, `NLM_F_REQUEST | NLM_F_ACK`, a number, no port.
fn question() -> [u8; 16] {
    let mut bytes = [0; 16];
    let fields = [
        &16_u32.to_ne_bytes()[..],
        &GET.to_ne_bytes(),
        &5_u16.to_ne_bytes(),
        &1_u32.to_ne_bytes(),
    ];
    for (to, from) in bytes.iter_mut().zip(fields.concat()) {
        *to = from;
    }
    bytes
}

/// What a message says: whether the audit is on; `None` for an acknowledgement.
fn answer(message: &[u8]) -> io::Result<Option<bool>> {
    const HEADER: usize = 16;
    let word = |at: usize| {
        let bytes = message.get(at..)?.first_chunk()?;
        Some(u32::from_ne_bytes(*bytes))
    };
    let kind = message.get(4..).and_then(|rest| rest.first_chunk());
    let kind = kind.map(|bytes| u16::from_ne_bytes(*bytes));
    match kind.zip(word(HEADER)) {
        // `struct nlmsgerr` begins with minus the errno.
        Some((2, 0)) => Ok(None),
        Some((2, error)) => Err(Errno::from_raw(error.cast_signed().wrapping_neg()).into()),
        // `struct audit_status` begins with a mask; 1 and 2 (for good) are on.
        Some((GET, _)) => match word(HEADER + 4) {
            Some(enabled) => Ok(Some(enabled != 0)),
            None => Err(io::ErrorKind::InvalidData.into()),
        },
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_read_and_nothing_else_is_one() {
        let status = |enabled: u32| {
            let header = question();
            [&header[..], &[0; 4], &enabled.to_ne_bytes(), &[0; 36]].concat()
        };
        for (enabled, on) in [(0, false), (1, true), (2, true)] {
            assert_eq!(answer(&status(enabled)).unwrap(), Some(on), "{enabled}");
        }
        let error = |errno: i32| {
            let mut bytes = question().to_vec();
            bytes[4..6].copy_from_slice(&2_u16.to_ne_bytes());
            bytes.extend((-errno).to_ne_bytes());
            answer(&bytes)
        };
        assert_eq!(error(0).unwrap(), None, "an acknowledgement");
        let refused = error(libc::EPERM).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
        let whole = status(1);
        for length in 0..24 {
            assert!(answer(&whole[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn nothing_is_asked_that_nobody_wants() {
        let unwanted = KernelAudit::ask(false);
        assert_eq!(unwanted, KernelAudit::Unwanted);
        assert!(unwanted.socket().is_none() && unwanted.why_not().is_none());
    }
}
