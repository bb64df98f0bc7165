//! `remit-bus` filters between jobs and the system bus: it forwards calls that read, refuses others, starts nothing.

pub mod account;
pub mod confine;
mod connection;
mod ends;
mod greeting;
pub mod header;
mod limits;
mod listener;
pub mod message;
mod names;

mod orders {
    //! The socket of the warden: orders with their descriptors, and reports.

    use std::io::IoSliceMut;
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

    use nix::cmsg_space;
    use nix::errno::Errno;
    use nix::sys::socket::{
        ControlMessageOwned, MsgFlags, SockType, getsockopt, recvmsg, send, sockopt,
    };
    use remit_common::bus::{DATAGRAM, Order, Report};
    use remit_sys::sys;

    /// Returns the SOCK_SEQPACKET socket at number `fd`, close-on-exec.
    pub fn inherited(fd: i32) -> Result<OwnedFd, String> {
        let borrowed = sys::borrowed(fd);
        if getsockopt(&borrowed, sockopt::SockType) != Ok(SockType::SeqPacket) {
            return Err(format!(
                "descriptor {fd} is not a socket of the warden: remitd starts this program"
            ));
        }
        sys::close_on_exec(borrowed)
            .map_err(|error| format!("cannot use descriptor {fd}: {error}"))?;
        Ok(sys::owned(fd))
    }

    pub fn receive(warden: BorrowedFd<'_>) -> Result<Option<(Order, Vec<OwnedFd>)>, String> {
        let mut buffer = vec![0; DATAGRAM];
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let mut space = cmsg_space!([i32; 2]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = loop {
            match recvmsg::<()>(warden.as_raw_fd(), &mut slices, Some(&mut space), flags) {
                Err(Errno::EINTR) => {}
                // The other end was closed with reports unread.
                Err(Errno::ECONNRESET) => return Ok(None),
                received => break received.map_err(|error| format!("cannot receive: {error}"))?,
            }
        };
        let mut fds = Vec::new();
        let parts = message
            .cmsgs()
            .map_err(|_| "a datagram has too many descriptors")?;
        for part in parts {
            if let ControlMessageOwned::ScmRights(raw) = part {
                fds.extend(raw.into_iter().map(sys::owned));
            }
        }
        let is_cut = message
            .flags
            .intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
        let length = message.bytes;
        match buffer.get(..length) {
            _ if is_cut => Err("a datagram is too long".to_owned()),
            Some([]) if fds.is_empty() => Ok(None),
            bytes => Order::decode(bytes.unwrap_or_default())
                .map(|order| Some((order, fds)))
                .map_err(|error| format!("cannot read an order: {error}")),
        }
    }

    pub fn report(warden: &OwnedFd, report: &Report) -> Result<bool, String> {
        let bytes = report
            .encode()
            .map_err(|error| format!("cannot report {report:?}: {error}"))?;
        let warden = warden.as_fd().as_raw_fd();
        loop {
            match send(warden, &bytes, MsgFlags::MSG_NOSIGNAL) {
                Err(Errno::EINTR) => {}
                Err(Errno::EPIPE | Errno::ECONNRESET) => return Ok(false),
                Err(error) => return Err(format!("cannot report to the warden: {error}")),
                Ok(_) => return Ok(true),
            }
        }
    }
}

mod replies;
mod serve;
pub mod table;

pub use orders::inherited;
pub use serve::{Server, Settings};
