//! What a worker forks, and what a worker and its children say on their sockets.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};
use remit_sys::sys;
use serde::{Deserialize, Serialize};

use crate::socket::{decode, receive, send};

/// A child that a worker forks. Its descriptors: the child's socket, and the cgroup and the staged files of its job, if set.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Fork {
    pub cgroup: bool,
    pub staged: bool,
    /// Uid and gid of its job.
    pub own: (u32, u32),
    /// Bytes and inodes of each private directory of its job. `None`: the job comes later, with those of its profile.
    pub size: Option<(u64, u64)>,
}

impl Fork {
    pub fn fds(&self) -> usize {
        1 + usize::from(self.cgroup) + usize::from(self.staged)
    }
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The worker is ready. With it comes the listener of its jobs' bus, if they have one.
    Ready,
    /// The child exists: its pid comes with the message.
    Forked,
    Failed(i32),
    /// The child that waited is the job now, and goes on. With it comes its mount namespace, if it has one of its own.
    Started,
    /// The child that waited cannot be this job. It ends.
    Refused(String),
    /// The user namespace of a view.
    Users,
    /// What a view is made of, and what is written in it: a tree of mounts that is attached nowhere.
    View,
}

/// Maximum bytes of a report.
const REPORT: usize = 1 << 10;

impl Report {
    pub fn say(&self, socket: BorrowedFd<'_>, with: Option<&OwnedFd>) -> io::Result<()> {
        let fds: Vec<_> = with.map(AsFd::as_fd).into_iter().collect();
        send(socket, self, &fds)
    }

    /// Waits for a report. Returns it with its descriptor, and with the pid of its sender if the socket asks for that.
    pub fn hear(
        socket: BorrowedFd<'_>,
        flags: MsgFlags,
    ) -> io::Result<(Report, i32, Option<OwnedFd>)> {
        let mut bytes = [0; REPORT];
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
        let report = decode(bytes.get(..length).unwrap_or_default())?;
        Ok((report, pid, with))
    }
}

/// The child's ends of its job's pipes: output, errors, steps. Closing the last descriptor of an end can wait for the
/// holder of the pipe's lock. So every process but the job's child closes them before that child executes anything.
pub type Ends = [OwnedFd; 3];

const ENDS: u8 = 1;

/// The first message to a child. Then comes its order.
pub(crate) fn send_ends(socket: BorrowedFd<'_>, ends: &Ends) -> io::Result<()> {
    send(socket, &ENDS, &ends.each_ref().map(AsFd::as_fd))
}

pub fn receive_ends(socket: BorrowedFd<'_>) -> Option<Ends> {
    match receive(socket) {
        Ok(Some((ENDS, fds))) => fds.try_into().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::pair;

    #[test]
    fn report_is_read_back_whole_or_not_at_all() {
        for report in [
            Report::Ready,
            Report::Forked,
            Report::Failed(libc::EAGAIN),
            Report::Started,
            Report::Refused("why".to_owned()),
            Report::Users,
            Report::View,
        ] {
            let bytes = postcard::to_stdvec(&report).unwrap();
            assert_eq!(decode::<Report>(&bytes).unwrap(), report);
            assert!(decode::<Report>(&[&bytes[..], &[0]].concat()).is_err());
        }
        for bytes in [&[][..], &[2], &[4], &[4, 2], &[7], &[0xff; 5]] {
            assert!(decode::<Report>(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn child_that_read_nothing_is_heard() {
        let (own_end, its) = pair(1).unwrap();
        Report::Forked.say(its.as_fd(), None).unwrap();
        send(own_end.as_fd(), &ENDS, &[]).unwrap();
        drop(its);
        let hear = || Report::hear(own_end.as_fd(), MsgFlags::empty());
        assert_eq!(hear().unwrap().0, Report::Forked);
        assert_eq!(hear().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
