//! Sockets of the internet that never wait.

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, bind, connect, setsockopt, socket,
    sockopt,
};
use std::{
    net::SocketAddr,
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

pub(super) const OWN: SockFlag = SockFlag::SOCK_CLOEXEC.union(SockFlag::SOCK_NONBLOCK);

/// Time for an address to accept a connection: the kernel repeats its first try at least three times in it. It would do so
/// six times, in about two minutes (tcp(7), `tcp_syn_retries`).
pub(super) const CALL: Duration = Duration::from_secs(8);

/// Bytes of a socket of the host's network, for each direction; the kernel doubles it (socket(7)). All networks share
/// `net.ipv4.tcp_mem`.
const FAR_BUFFER: usize = 32 << 10;

/// Returns a socket of the host's network for a connection to `address`, with 64 KiB for each direction.
pub(super) fn far_socket(address: SocketAddr) -> nix::Result<OwnedFd> {
    let far = tcp(address)?;
    setsockopt(&far, sockopt::RcvBuf, &FAR_BUFFER)?;
    setsockopt(&far, sockopt::SndBuf, &FAR_BUFFER)?;
    Ok(far)
}

/// With its own length: the worker's filter knows addresses of the internet by that.
pub(super) fn bind_to(socket: &OwnedFd, address: SocketAddr) -> nix::Result<()> {
    let at = socket.as_raw_fd();
    match address {
        SocketAddr::V4(address) => bind(at, &SockaddrIn::from(address)),
        SocketAddr::V6(address) => bind(at, &SockaddrIn6::from(address)),
    }
}

pub(super) fn connect_to(socket: &OwnedFd, address: SocketAddr) -> nix::Result<()> {
    let from = socket.as_raw_fd();
    let connected = match address {
        SocketAddr::V4(address) => connect(from, &SockaddrIn::from(address)),
        SocketAddr::V6(address) => connect(from, &SockaddrIn6::from(address)),
    };
    match connected {
        Err(nix::Error::EINPROGRESS) => Ok(()),
        other => other,
    }
}

pub(super) fn tcp(address: SocketAddr) -> nix::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    socket(family, SockType::Stream, OWN, None)
}
