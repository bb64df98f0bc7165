//! Takes descriptors that the service manager hands over (sd_listen_fds(3)).

use crate::sys;
use nix::sys::socket::{AddressFamily, SockType, getsockopt, sockopt};
use std::io;
use std::os::fd::OwnedFd;

/// Returns the listening Unix stream socket at number `fd`, made close-on-exec. Fails if `fd` is anything else.
pub fn inherited_listener(fd: i32) -> io::Result<OwnedFd> {
    let refuse = |why: &str| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("descriptor {fd} {why}"),
        )
    };
    let borrowed = sys::borrowed(fd);
    let kind = getsockopt(&borrowed, sockopt::SockType).map_err(|_| refuse("is not a socket"))?;
    let listens = getsockopt(&borrowed, sockopt::AcceptConn)?;
    let local = nix::sys::socket::getsockname::<nix::sys::socket::SockaddrStorage>(fd)?;
    let unix = nix::sys::socket::SockaddrLike::family(&local) == Some(AddressFamily::Unix);
    if kind != SockType::Stream || !unix || !listens {
        return Err(refuse("is not a listening Unix stream socket"));
    }
    let close = nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC);
    nix::fcntl::fcntl(borrowed, close)?;
    Ok(sys::owned(fd))
}
