//! A descriptor whose last close blocks for an hour, as a hostile client may send it.

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
    /// Creates the sockets. SO_LINGER is not set yet.
    #[must_use]
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a loopback");
        let address = listener.local_addr().expect("it is bound");
        let stuck = TcpStream::connect(address).expect("it listens");
        stuck.set_nonblocking(true).expect("it is ours");
        while (&stuck).write(&[0; 65_536]).is_ok() {}
        Self { stuck, listener }
    }

    /// Sends the socket over a Unix socket with `bytes`, and closes our copy. Stop the receiver first: if it closes
    /// its copy earlier, our close blocks. The returned peer must stay open.
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
        // SO_LINGER is only set now, so a test that ends early does not block.
        Ok(self.into_parts().1)
    }

    /// Sets SO_LINGER and returns the socket with its peer.
    #[must_use]
    pub fn into_parts(self) -> (TcpStream, TcpListener) {
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: AN_HOUR,
        };
        setsockopt(&self.stuck, sockopt::Linger, &linger).expect("it is a socket");
        (self.stuck, self.listener)
    }

    /// Closes our copy after another process has sent it. The returned peer must stay open.
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
