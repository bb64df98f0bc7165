//! Descriptor 3, with which the warden starts the broker and the process that closes for it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{SockType, UnixAddr, getsockname, getsockopt, sockopt};
use remit_link::Link;
use remit_link::sys::own;

/// Returns descriptor 3 of a new process: the socket of [`sink`](crate::sink), for example. Fails if it is not a socket or was
/// taken before.
pub fn socket() -> io::Result<OwnedFd> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    // A stat through /proc checks that it is an open socket without owning it.
    if !std::fs::metadata("/proc/self/fd/3")?
        .file_type()
        .is_socket()
        || TAKEN.swap(true, Ordering::SeqCst)
    {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "descriptor 3 is not the link, or was taken",
        ));
    }
    // Descriptor 3 was just seen open. The parent passed it for this use, and nothing here opens sockets earlier.
    // `TAKEN` makes this the only owner.
    Ok(own(3))
}

/// Returns the broker's end: descriptor 3 of a new process. Call it before anything else opens descriptors. Fails
/// if it was called before, or if descriptor 3 is not a unix SOCK_SEQPACKET socket.
pub fn link() -> io::Result<Link> {
    let fd = socket()?;
    let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, why.to_owned()));
    if getsockname::<UnixAddr>(fd.as_raw_fd()).is_err()
        || getsockopt(&fd, sockopt::SockType)? != SockType::SeqPacket
    {
        return refuse("descriptor 3 is not the link");
    }
    fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(fd.into())
}
