//! The sockets of a connection. A job can send descriptors whose last close blocks, and on old kernels the close of any
//! socket can release them: what is closed here does not block the loop (`remit_link::foreign`).

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use remit_closer::Closer;
use remit_link::ForeignSocket;
use remit_link::foreign::refuse_rights;

/// A job's end. The connection counts until it and all others of it are closed.
#[derive(Debug)]
pub struct JobEnd {
    pub fd: OwnedFd,
    pub counted: Arc<()>,
}

/// Returns the proxy's end and the job's.
pub fn pair(closer: &Closer, counted: &Arc<()>) -> io::Result<(ForeignSocket, JobEnd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (own, fd) = socketpair(AddressFamily::Unix, SockType::Stream, None, flags)?;
    let counted = Arc::clone(counted);
    Ok((guard(own, closer, &counted), JobEnd { fd, counted }))
}

pub fn guard(fd: OwnedFd, closer: &Closer, counted: &Arc<()>) -> ForeignSocket {
    // Kernels before 6.16 lack it.
    let _ = refuse_rights(&fd);
    let (closer, counted) = (closer.clone(), Arc::clone(counted));
    ForeignSocket::new(fd, move |fd| closer.close(fd, counted))
}
