//! `remit-bus` filters between jobs and the system bus: it forwards calls that read, refuses others, starts nothing.

pub mod account;
pub mod confine;
mod connection;
mod greeting;
pub mod header;
mod limits;

mod listener {
    //! A job's connect(2). It gets a connection of the proxy, or an error: no memory of the job is read, no call continued.

    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

    use nix::sys::stat::stat;
    use remit_sys::sys::{self, Notification};

    use crate::account::ADDRESSES;

    #[derive(Debug)]
    pub struct Asked<'a> {
        listener: BorrowedFd<'a>,
        notification: Notification,
        pub uid: u32,
    }

    /// Receives a notification. `Ok(None)` if nothing is left to answer. Fails if the listener is of no more use.
    pub fn receive(listener: &OwnedFd) -> std::io::Result<Option<Asked<'_>>> {
        let listener = listener.as_fd();
        let Some(notification) = sys::receive_notification(listener)? else {
            return Ok(None);
        };
        let refuse = |errno| {
            // The process may be gone.
            let _ = sys::answer_notification(listener, notification.id, Some(errno));
            Ok(None)
        };
        if i64::from(notification.number) != libc::SYS_connect {
            return refuse(libc::EPERM);
        }
        // stat(2) has the effective uid, as `status` has, but its cost is not the job's to choose. It needs no right.
        let Ok(process) = stat(format!("/proc/{}", notification.pid).as_str()) else {
            return refuse(libc::ECONNREFUSED);
        };
        match sys::is_notification_pending(listener, notification.id) {
            true => Ok(Some(Asked {
                listener,
                notification,
                uid: process.st_uid,
            })),
            false => Ok(None),
        }
    }

    impl Asked<'_> {
        /// Returns true if the address may be that of a service that knows accounts, and is not the bus's.
        pub fn is_for_accounts(&self) -> bool {
            let [_, _, length, ..] = self.notification.args;
            ADDRESSES.contains(&(length & u64::from(u32::MAX)))
        }

        pub fn refuse(self) {
            let (id, errno) = (self.notification.id, libc::ECONNREFUSED);
            let _ = sys::answer_notification(self.listener, id, Some(errno));
        }

        /// Puts `end` in the position of the job's socket. Returns false if the job has not got it.
        pub fn connect(self, end: &OwnedFd) -> bool {
            let [socket, ..] = self.notification.args;
            // The kernel takes the lower half for a descriptor, too.
            let socket = (socket & u64::from(u32::MAX)) as u32;
            let (listener, id) = (self.listener, self.notification.id);
            if sys::install_descriptor(listener, id, end.as_fd(), socket).is_err() {
                self.refuse();
                return false;
            }
            // Not in one call: SECCOMP_ADDFD_FLAG_SEND answers with the number of the descriptor, and connect(2) must return
            // 0. A job that dies between the two closes the end.
            sys::answer_notification(listener, id, None).is_ok()
        }
    }
}

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
