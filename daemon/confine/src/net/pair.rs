//! One connection that is carried: the job's socket, the host's, and how far each way is.
//!
//! Nothing is kept in between. What there is to read is peeked at, sent on, and only what was taken
//! is then removed (`MSG_TRUNC`, tcp(7)). So a slow receiver slows its sender, as without a relay,
//! and a connection needs no memory.

use nix::sys::socket::{MsgFlags, Shutdown, recv, send, setsockopt, shutdown, sockopt};
use std::{
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

/// Bytes carried at a time.
pub(super) const CHUNK: usize = 64 << 10;
/// Chunks carried before others have their turn.
const TURN: usize = 4;

/// How far one direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// More can come.
    Reading,
    /// There is something, and no room for it.
    Writing,
    /// Its end was passed on.
    Ended,
}

/// A pair of non-blocking TCP sockets.
#[derive(Debug)]
pub(super) struct Pair {
    near: OwnedFd,
    far: OwnedFd,
    /// From near to far.
    up: Way,
    down: Way,
}

/// What poll(2) shall ask of a socket; -1 for one that has nothing to tell.
pub(super) type Wish = (RawFd, i16);

impl Pair {
    /// Both are connected.
    pub(super) fn new(near: OwnedFd, far: OwnedFd) -> io::Result<Self> {
        for socket in [&near, &far] {
            setsockopt(socket, sockopt::TcpNoDelay, &true)?;
            // Out of band, a byte would be lost; in line, all have their place.
            setsockopt(socket, sockopt::OobInline, &true)?;
        }
        Ok(Pair {
            near,
            far,
            up: Way::Reading,
            down: Way::Reading,
        })
    }

    /// Near and far.
    pub(super) fn wishes(&self) -> [Wish; 2] {
        [
            wish(&self.near, self.up, self.down),
            wish(&self.far, self.down, self.up),
        ]
    }

    /// Carries what can be carried. `seen` is what poll(2) said of near and far. `None` when it is
    /// all over.
    pub(super) fn carry(mut self, seen: [i16; 2], room: &mut [u8; CHUNK]) -> Option<Self> {
        match self.turn(seen, room) {
            Ok(true) => Some(self),
            Ok(false) => None,
            Err(_) => {
                self.reset();
                None
            }
        }
    }

    /// Whether there is more to come.
    fn turn(&mut self, seen: [i16; 2], room: &mut [u8; CHUNK]) -> io::Result<bool> {
        let [near, far] = seen;
        if self.up != Way::Ended && (near | far) != 0 {
            self.up = pump(&self.near, &self.far, room)?;
        }
        if self.down != Way::Ended && (near | far) != 0 {
            self.down = pump(&self.far, &self.near, room)?;
        }
        // Whatever is still there, as without a relay: what is reset is over.
        if (near | far) & libc::POLLERR != 0 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok((self.up, self.down) != (Way::Ended, Way::Ended))
    }

    /// Nobody is at the near end any more: only what it has said counts.
    pub(super) fn forsake(&mut self) {
        self.down = Way::Ended;
    }

    /// Both ends see an error.
    pub(super) fn reset(&self) {
        reset(&self.near);
        reset(&self.far);
    }
}

/// Closing it will be a reset. socket(7), `SO_LINGER`.
pub(super) fn reset(socket: &OwnedFd) {
    let at_once = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // What cannot be told in this way is told by the end.
    let _ = setsockopt(socket, sockopt::Linger, &at_once);
}

/// `from`: the way that begins at this socket. `to`: the one that ends there.
fn wish(socket: &OwnedFd, from: Way, to: Way) -> Wish {
    let reads = if from == Way::Reading {
        libc::POLLIN
    } else {
        0
    };
    let writes = if to == Way::Writing { libc::POLLOUT } else { 0 };
    // With both ends passed, poll(2) would say so for ever, while what it said waits for room.
    let said_all = from == Way::Writing && to == Way::Ended;
    let fd = if said_all { -1 } else { socket.as_raw_fd() };
    (fd, reads | writes)
}

fn pump(from: &OwnedFd, to: &OwnedFd, room: &mut [u8; CHUNK]) -> io::Result<Way> {
    let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
    for _ in 0..TURN {
        let peek = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        let there = match recv(from, room, peek) {
            Err(nix::Error::EAGAIN) => return Ok(Way::Reading),
            Err(nix::Error::EINTR) => continue,
            other => other?,
        };
        if there == 0 {
            shutdown(to, Shutdown::Write)?;
            return Ok(Way::Ended);
        }
        let whole = room.get(..there).unwrap_or_default();
        let quietly = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        let sent = match send(to, whole, quietly) {
            Err(nix::Error::EAGAIN) => return Ok(Way::Writing),
            Err(nix::Error::EINTR) => continue,
            other => other?,
        };
        remove(from, room.get_mut(..sent).unwrap_or_default())?;
    }
    Ok(Way::Reading)
}

/// Removes as many bytes as `sent` is long; they are there.
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
