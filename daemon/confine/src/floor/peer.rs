//! Who is at the other end of a Unix socket, by the kernel.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

/// How the peer's pidfd was got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PidfdSource {
    /// `SO_PEERPIDFD` (Linux 6.5): the process that connected.
    Socket,
    /// `pidfd_open` of the `SO_PEERCRED` pid: may be another process with a recycled pid.
    Pid,
}

/// The process that connected, as it was when it connected.
#[derive(Debug)]
pub struct Peer {
    /// Its pid in our namespace.
    pub pid: i32,
    /// Its effective uid.
    pub uid: u32,
    /// Its effective gid.
    pub gid: u32,
    /// Its supplementary groups.
    pub groups: Vec<u32>,
    /// Readable when it has exited.
    pub pidfd: OwnedFd,
    /// How `pidfd` was got.
    pub pidfd_source: PidfdSource,
}

/// The peer of a connected Unix socket. unix(7).
pub fn peer(_socket: impl AsFd) -> io::Result<Peer> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}
