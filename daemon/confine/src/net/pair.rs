//! Forwards one connection between the job's socket and the host's. Bytes are peeked at and sent on, and only those
//! that were sent are removed (`MSG_TRUNC`, tcp(7)): a slow receiver slows its sender, and no memory is needed.

use nix::sys::socket::{MsgFlags, Shutdown, recv, send, setsockopt, shutdown, sockopt};
use std::{
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

pub(super) const CHUNK: usize = 64 << 10;
const TURN: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlowState {
    Reading,
    /// Bytes are there, and the receiver has no space.
    Writing,
    Ended,
}

#[derive(Debug)]
pub(super) struct Pair {
    near: OwnedFd,
    far: OwnedFd,
    up: FlowState,
    down: FlowState,
}

/// Events that poll(2) shall watch on a socket; -1 for none.
pub(super) type Wish = (RawFd, i16);

impl Pair {
    pub(super) fn new(near: OwnedFd, far: OwnedFd) -> io::Result<Self> {
        for socket in [&near, &far] {
            setsockopt(socket, sockopt::TcpNoDelay, &true)?;
            // Out of band, a byte would be lost; inline, all keep their order.
            setsockopt(socket, sockopt::OobInline, &true)?;
        }
        Ok(Pair {
            near,
            far,
            up: FlowState::Reading,
            down: FlowState::Reading,
        })
    }

    pub(super) fn wishes(&self) -> [Wish; 2] {
        [
            wish(&self.near, self.up, self.down),
            wish(&self.far, self.down, self.up),
        ]
    }

    /// Forwards what can be forwarded. `seen`: what poll(2) reported of near and far. `None`: the connection is over.
    pub(super) fn carry(mut self, seen: [i16; 2], buffer: &mut [u8; CHUNK]) -> Option<Self> {
        match self.turn(seen, buffer) {
            Ok(true) => Some(self),
            Ok(false) => None,
            Err(_) => {
                self.reset();
                None
            }
        }
    }

    fn turn(&mut self, seen: [i16; 2], buffer: &mut [u8; CHUNK]) -> io::Result<bool> {
        let [near, far] = seen;
        if self.up != FlowState::Ended && (near | far) != 0 {
            self.up = pump(&self.near, &self.far, buffer)?;
        }
        if self.down != FlowState::Ended && (near | far) != 0 {
            self.down = pump(&self.far, &self.near, buffer)?;
        }
        // A reset ends the connection even if bytes are left, as without a relay.
        if (near | far) & libc::POLLERR != 0 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok((self.up, self.down) != (FlowState::Ended, FlowState::Ended))
    }

    /// Nobody is at the near end any more: only what it has sent counts.
    pub(super) fn forsake(&mut self) {
        self.down = FlowState::Ended;
    }

    pub(super) fn reset(&self) {
        reset(&self.near);
        reset(&self.far);
    }
}

/// Makes the close a reset. socket(7), `SO_LINGER`.
pub(super) fn reset(socket: &OwnedFd) {
    // If this fails, the peer sees an ordinary end.
    let _ = set_reset(socket, true);
}

/// Makes the close a reset, also that at the end of this process, or an ordinary end again.
pub(super) fn set_reset(socket: &OwnedFd, is_on: bool) -> nix::Result<()> {
    let at_once = libc::linger {
        l_onoff: is_on.into(),
        l_linger: 0,
    };
    setsockopt(socket, sockopt::Linger, &at_once)
}

/// `from`: the direction that begins at this socket. `to`: the one that ends there.
fn wish(socket: &OwnedFd, from: FlowState, to: FlowState) -> Wish {
    let reads = if from == FlowState::Reading {
        libc::POLLIN
    } else {
        0
    };
    let writes = if to == FlowState::Writing {
        libc::POLLOUT
    } else {
        0
    };
    // With both ends passed, poll(2) would report that for ever, while the last bytes wait for space.
    let said_all = from == FlowState::Writing && to == FlowState::Ended;
    let fd = if said_all { -1 } else { socket.as_raw_fd() };
    (fd, reads | writes)
}

pub(super) fn pump(
    from: &OwnedFd,
    to: &OwnedFd,
    buffer: &mut [u8; CHUNK],
) -> io::Result<FlowState> {
    let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
    for _ in 0..TURN {
        let peek = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        let there = match recv(from, buffer, peek) {
            Err(nix::Error::EAGAIN) => return Ok(FlowState::Reading),
            Err(nix::Error::EINTR) => continue,
            other => other?,
        };
        if there == 0 {
            shutdown(to, Shutdown::Write)?;
            return Ok(FlowState::Ended);
        }
        let whole = buffer.get(..there).unwrap_or_default();
        let quietly = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        let sent = match send(to, whole, quietly) {
            Err(nix::Error::EAGAIN) => return Ok(FlowState::Writing),
            Err(nix::Error::EINTR) => continue,
            other => other?,
        };
        remove(from, buffer.get_mut(..sent).unwrap_or_default())?;
    }
    Ok(FlowState::Reading)
}

fn remove(from: RawFd, mut sent: &mut [u8]) -> io::Result<()> {
    while !sent.is_empty() {
        let flags = MsgFlags::MSG_TRUNC | MsgFlags::MSG_DONTWAIT;
        let removed = match recv(from, sent, flags) {
            Err(nix::Error::EINTR) => continue,
            other => other?,
        };
        if removed == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        sent = sent.get_mut(removed..).unwrap_or_default();
    }
    Ok(())
}
