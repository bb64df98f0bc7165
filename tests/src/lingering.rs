//! A descriptor whose last close waits for an hour: what a hostile neighbour sends.

use std::io::{IoSlice, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg, setsockopt, sockopt};

/// Longer than any test waits.
const AN_HOUR: i32 = 3600;

/// A TCP socket on loopback with unsent data, a peer that does not read, and SO_LINGER (socket(7)).
#[derive(Debug)]
pub struct Lingering {
    stuck: TcpStream,
    /// The peer that does not read.
    listener: TcpListener,
}

impl Lingering {
    /// One that nobody has seen yet.
    ///
    /// # Panics
    /// When there is no loopback.
    #[must_use]
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a loopback");
        let address = listener.local_addr().expect("it is bound");
        let stuck = TcpStream::connect(address).expect("it listens");
        stuck.set_nonblocking(true).expect("it is ours");
        while (&stuck).write(&[0; 65_536]).is_ok() {}
        Self { stuck, listener }
    }

    /// Sends it over a Unix socket with `bytes`, and gives up the own copy. Whoever reads must be stopped meanwhile: else
    /// they may close theirs before, and this one waits. What stays listens for as long as it is kept.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn send(
        self,
        over: BorrowedFd<'_>,
        bytes: &[u8],
        also: MsgFlags,
    ) -> nix::Result<TcpListener> {
        let raw = [self.stuck.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&raw)];
        let slices = [IoSlice::new(bytes)];
        let flags = MsgFlags::MSG_NOSIGNAL | also;
        sendmsg::<()>(over.as_raw_fd(), &slices, &rights, flags, None)?;
        // Only now: a test that ends early does not wait itself.
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: AN_HOUR,
        };
        setsockopt(&self.stuck, sockopt::Linger, &linger)?;
        Ok(self.listener)
    }
}

impl Lingering {
    /// Gives up the own copy, where another process has sent it. What stays listens for as long as it is kept.
    #[must_use]
    pub fn into_listener(self) -> TcpListener {
        self.listener
    }
}

impl Default for Lingering {
    fn default() -> Self {
        Self::new()
    }
}
