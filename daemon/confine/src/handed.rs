//! Descriptors that the service manager hands over (sd_listen_fds(3)).

use crate::floor;
use nix::sys::socket::{AddressFamily, SockType, getsockopt, sockopt};
use std::io;
use std::os::fd::OwnedFd;

/// The listening Unix stream socket at number `fd`, close-on-exec from now on.
///
/// # Errors
/// There is none, or it is something else.
pub fn inherited_listener(fd: i32) -> io::Result<OwnedFd> {
    let refuse = |why: &str| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("descriptor {fd} {why}"),
        )
    };
    let borrowed = floor::placed(fd);
    let kind = getsockopt(&borrowed, sockopt::SockType).map_err(|_| refuse("is no socket"))?;
    let listens = getsockopt(&borrowed, sockopt::AcceptConn)?;
    let local = nix::sys::socket::getsockname::<nix::sys::socket::SockaddrStorage>(fd)?;
    let unix = nix::sys::socket::SockaddrLike::family(&local) == Some(AddressFamily::Unix);
    if kind != SockType::Stream || !unix || !listens {
        return Err(refuse("is no listening Unix stream socket"));
    }
    let close = nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC);
    nix::fcntl::fcntl(borrowed, close)?;
    Ok(floor::owned(fd))
}
