//! The socket by which an extraction gives the contents of a plan to the broker. They are the broker's upload, not output of the
//! job: remitd reads nothing of them, because `remit-commit` compares their hash with the approved one.

use std::io;
use std::os::fd::OwnedFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

/// Both ends, from the job's start until they are with the job and the broker. A new broker does not get one: the extraction
/// fails then.
#[derive(Debug)]
pub struct PackSocket {
    /// Standard input of the job.
    pub job: OwnedFd,
    pub broker: OwnedFd,
}

impl PackSocket {
    pub fn new() -> io::Result<Self> {
        let (family, kind) = (AddressFamily::Unix, SockType::Stream);
        let (job, broker) = socketpair(family, kind, None, SockFlag::SOCK_CLOEXEC)?;
        Ok(Self { job, broker })
    }
}
