//! Messages between spawner, worker and child: one datagram each, with descriptors.

use crate::spec::compiled::Origin;
use crate::steps::child_env::Ends;
use crate::steps::prepare::PrivateSize;
use crate::steps::private_root::Seen;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};
use remit_spawn::socket;
use remit_sys::sys;
use serde::{Deserialize, Serialize};
use std::{
    io::{self, IoSliceMut},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

pub(super) use remit_spawn::socket::{
    is_socket, pair, patient_pair, receive, send, send_now, set_patience,
};

/// The first message to a worker. Its descriptors: the warden's pidfd, and the switch that ends all jobs. The worker
/// says when it is ready.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) origin: Origin,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Forks a child. It gets its order on the first descriptor, a socket, on which it reports. The second is its
    /// cgroup, if `cgroup` is set.
    Fork {
        cgroup: bool,
        /// Uid and gid of its job.
        own: (u32, u32),
        size: PrivateSize,
        /// Its job is not there yet.
        is_waiting: bool,
    },
    /// Keeps the mount namespace of a job that ends soon: otherwise the job waits for the namespace's end.
    Keep,
}

/// What a worker or a child says on its socket.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Report {
    /// The worker is ready. With it comes the listener of its jobs' bus, if they have one.
    Ready,
    /// The child exists: its pid comes with the message.
    Forked,
    /// There is no child.
    Failed(i32),
    /// The child that waits has prepared itself, with a root of its own that shows these files. In base `read` its
    /// mount namespace comes with the message.
    Prepared(Option<Seen>),
    /// It could not.
    Unprepared,
}

/// Most bytes of a report. A child whose root shows more files than that does not get a job.
const REPORT: usize = 16 << 10;

impl Report {
    pub(super) fn say(&self, socket: BorrowedFd<'_>, with: Option<&OwnedFd>) -> io::Result<()> {
        let fds: Vec<_> = with.map(AsFd::as_fd).into_iter().collect();
        send(socket, self, &fds)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Report> {
        match postcard::take_from_bytes(bytes) {
            Ok((report, [])) => Some(report),
            _ => None,
        }
    }

    /// Waits for a report. Returns it with its descriptor, and with the pid of its sender if the socket asks for that.
    pub(super) fn hear(
        socket: BorrowedFd<'_>,
        flags: MsgFlags,
    ) -> io::Result<(Report, i32, Option<OwnedFd>)> {
        let mut bytes = vec![0; REPORT];
        let mut space = nix::cmsg_space!(libc::ucred, [i32; 1]);
        let (mut pid, mut with) = (0, None);
        let length = loop {
            let mut slices = [IoSliceMut::new(&mut bytes)];
            let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
            match recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags) {
                // This process was stopped and continued: with a timeout set that interrupts the wait (signal(7)).
                Err(Errno::EINTR) => {}
                // The sender ended and left something unread. This is reported once, before what it said.
                Err(Errno::ECONNRESET) => {}
                Err(errno) => return Err(errno.into()),
                Ok(message) => {
                    for part in message.cmsgs()? {
                        match part {
                            ControlMessageOwned::ScmCredentials(sender) => pid = sender.pid(),
                            ControlMessageOwned::ScmRights(raw) => {
                                with = raw.into_iter().map(sys::owned).next_back();
                            }
                            _ => {}
                        }
                    }
                    break message.bytes;
                }
            }
        };
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let report = Report::from_bytes(bytes.get(..length).unwrap_or_default());
        let report = report.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok((report, pid, with))
    }
}

/// The first message to a child: the ends of its job's pipes. Then comes its order.
pub(super) fn send_ends(socket: BorrowedFd<'_>, ends: &Ends) -> io::Result<()> {
    send(socket, &ENDS, &ends.each_ref().map(AsFd::as_fd))
}

pub(super) fn receive_ends(socket: BorrowedFd<'_>) -> Option<Ends> {
    match receive(socket) {
        Ok(Some((ENDS, fds))) => fds.try_into().ok(),
        _ => None,
    }
}

const ENDS: u8 = 1;

/// Lets the child that got its order execute it. Until then only the child and the warden have its pipes.
pub(super) fn begin(socket: BorrowedFd<'_>) -> io::Result<()> {
    socket::send_bytes(socket, &[1], &[])
}

pub(super) fn may_begin(socket: BorrowedFd<'_>) -> bool {
    matches!(sys::read(socket, &mut [0]), Ok(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_what_was_said_or_nothing() {
        for report in [
            Report::Ready,
            Report::Forked,
            Report::Failed(libc::EAGAIN),
            Report::Prepared(None),
            Report::Unprepared,
        ] {
            let bytes = postcard::to_stdvec(&report).unwrap();
            assert_eq!(Report::from_bytes(&bytes), Some(report));
            assert_eq!(Report::from_bytes(&[&bytes[..], &[0]].concat()), None);
        }
        for bytes in [&[][..], &[2], &[3], &[3, 2], &[5], &[0xff; 5]] {
            assert_eq!(Report::from_bytes(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn child_that_read_nothing_is_heard() {
        let (own_end, its) = pair(1).unwrap();
        Report::Forked.say(its.as_fd(), None).unwrap();
        begin(own_end.as_fd()).unwrap();
        drop(its);
        let hear = || Report::hear(own_end.as_fd(), MsgFlags::empty());
        assert_eq!(hear().unwrap().0, Report::Forked);
        assert_eq!(hear().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn k01_child_begins_on_order_not_on_hangup() {
        let (warden, child) = pair(1).unwrap();
        begin(warden.as_fd()).unwrap();
        assert!(may_begin(child.as_fd()));
        drop(warden);
        assert!(!may_begin(child.as_fd()));
    }
}
