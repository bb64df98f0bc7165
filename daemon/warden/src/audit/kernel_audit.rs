//! Checks whether the kernel's audit is readable (`audit.kernel` of remit.toml) and opens the broker's socket.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto,
    socket,
};

/// `AUDIT_NLGRP_READLOG` as a bit: every audit record. Binding it needs `CAP_AUDIT_READ`.
const READLOG: u32 = 1;
/// `AUDIT_GET` reads the audit status. It needs `CAP_AUDIT_CONTROL` in the initial pid namespace.
const GET: u16 = 1000;
/// Milliseconds per message at start-up. A kernel thread sends the answer.
const PATIENCE: u16 = 2000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelAudit {
    /// Not configured. Sandbox layers log no refusals, so no job can fill the audit's log.
    Unwanted,
    /// Available. Sandbox layers log their refusals.
    Heard,
    /// Configured but not available, with the reason. Sandbox layers log no refusals.
    Unheard(String),
}

impl KernelAudit {
    /// Checks once whether the audit is on and can be heard. It may block, so use it only at start-up.
    pub fn ask(wanted: bool) -> Self {
        if !wanted {
            return Self::Unwanted;
        }
        let why = match is_on() {
            Ok(true) => match listen() {
                Ok(_) => return Self::Heard,
                Err(error) => format!("cannot listen to it ({error}; CAP_AUDIT_READ)"),
            },
            Ok(false) => {
                "it is off ('auditctl -e 1', or audit=1 on the kernel's command line)".into()
            }
            Err(error) => format!(
                "cannot query it ({error}); in a container, or without CAP_AUDIT_CONTROL, this never works"
            ),
        };
        Self::Unheard(why)
    }

    pub fn is_heard(&self) -> bool {
        *self == Self::Heard
    }

    pub fn why_not(&self) -> Option<&str> {
        match self {
            Self::Unheard(why) => Some(why),
            Self::Unwanted | Self::Heard => None,
        }
    }

    pub fn socket(&self) -> Option<OwnedFd> {
        if !self.is_heard() {
            return None;
        }
        listen()
            .inspect_err(|error| say!("cannot read the kernel's audit log any longer: {error}"))
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

fn is_on() -> io::Result<bool> {
    let socket = netlink()?;
    let question = question();
    let kernel = NetlinkAddr::new(0, 0);
    sendto(socket.as_raw_fd(), &question, &kernel, MsgFlags::empty())?;
    let mut buffer = [0; 1024];
    // The acknowledgement arrives before the answer.
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

/// A bare `struct nlmsghdr`: length, type, `NLM_F_REQUEST | NLM_F_ACK`, sequence number, port 0.
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

/// Returns whether the audit is on, or `None` for an acknowledgement.
fn answer(message: &[u8]) -> io::Result<Option<bool>> {
    const HEADER: usize = 16;
    let word = |at: usize| {
        let bytes = message.get(at..)?.first_chunk()?;
        Some(u32::from_ne_bytes(*bytes))
    };
    let kind = message.get(4..).and_then(|rest| rest.first_chunk());
    let kind = kind.map(|bytes| u16::from_ne_bytes(*bytes));
    match kind.zip(word(HEADER)) {
        // `struct nlmsgerr` starts with the negated errno.
        Some((2, 0)) => Ok(None),
        Some((2, error)) => Err(Errno::from_raw(error.cast_signed().wrapping_neg()).into()),
        // `struct audit_status` starts with a mask. 1 means on, 2 means on and locked.
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
    fn only_valid_answer_is_accepted() {
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
    fn disabled_kernel_audit_asks_nothing() {
        let unwanted = KernelAudit::ask(false);
        assert_eq!(unwanted, KernelAudit::Unwanted);
        assert!(unwanted.socket().is_none() && unwanted.why_not().is_none());
    }
}
