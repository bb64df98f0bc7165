//! Errors of the link.

use std::io;

use nix::errno::Errno;
use remit_common::frame::FrameError;

/// Reason why a message was not sent or received.
#[derive(Debug)]
pub enum LinkError {
    /// The peer does not read fast enough now.
    Full,
    /// There is nothing to read now.
    Empty,
    /// The peer has closed.
    Closed,
    /// The bytes are not a message, or there are too many descriptors.
    Malformed,
    /// The socket failed.
    Io(io::Error),
}

impl std::fmt::Display for LinkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full => f.write_str("link is full"),
            Self::Empty => f.write_str("link is empty"),
            Self::Closed => f.write_str("link is closed"),
            Self::Malformed => f.write_str("the link carried an invalid message"),
            Self::Io(error) => write!(f, "link: {error}"),
        }
    }
}

impl std::error::Error for LinkError {}

impl From<Errno> for LinkError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::EPIPE | Errno::ECONNRESET => Self::Closed,
            other => Self::Io(other.into()),
        }
    }
}

impl From<FrameError> for LinkError {
    fn from(_: FrameError) -> Self {
        Self::Malformed
    }
}
