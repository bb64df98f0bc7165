//! What warden and zygote say to each other: one datagram a message, descriptors beside it.

use crate::limits::Limits;
use crate::recipe::Recipe;
use crate::spawn::Ends;
use crate::{Job, Sandbox};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
    getsockopt, recv, recvmsg, sendmsg, setsockopt, socketpair, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    ffi::{CStr, CString},
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

/// Bytes of a message, at most: a larger job is forked by the warden itself.
pub(super) const MESSAGE: usize = 64 << 10;
/// Descriptors beside it, at most: three pipes, stdin, script, cgroup, and what a child waits for.
const FDS: usize = 7;
/// Bytes of an answer.
pub(super) const ANSWER: usize = 8;

/// The first message. Beside it: the warden's pidfd, and the switch that ends all jobs.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) recipe: Recipe,
}

impl Setup {
    pub(super) fn of(recipe: &Recipe) -> Setup {
        Setup {
            recipe: recipe.clone(),
        }
    }
}

/// What the warden wants.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// A job, at once. The last descriptor beside it is what its child waits for.
    Fork(Box<Order>),
    /// A child that waits for its order on the socket beside this message, in the cgroup beside that, where
    /// `cgroup` says so. It tells by that socket that it is born, then that it is there; where there is none, the socket ends.
    /// `own`: uid and gid of the job that it will be. `others`: how many wait already.
    Prepare {
        cgroup: bool,
        own: (u32, u32),
        others: usize,
    },
    /// Nothing waits any more.
    Dismissed,
}

/// One job. Beside it: stdout, stderr, steps, then what is said to be there.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) loginuid: Option<u32>,
    pub(super) argv: Vec<CString>,
    pub(super) path: Vec<CString>,
    pub(super) env: Vec<CString>,
    pub(super) cwd: CString,
    pub(super) limits: Limits,
    pub(super) stdin: bool,
    pub(super) script: bool,
    pub(super) cgroup: bool,
}

impl Order {
    /// `None` for a job that has what is not sent: paths, secrets or measured files, other sizes of its private
    /// directories than the room has, or simply too much.
    pub(super) fn of(sandbox: &Sandbox, job: &Job<'_>) -> Option<Order> {
        let tmp = |limits: &Limits| (limits.tmp_bytes, limits.tmp_inodes);
        let strings = job.argv.iter().chain(job.path).chain(job.env);
        // A few bytes each for its length.
        let bytes: usize = strings.map(|s| s.as_bytes().len() + 4).sum();
        let plain = job.places.is_empty()
            && job.measured.is_empty()
            && tmp(job.limits) == tmp(&sandbox.limits)
            && bytes + job.cwd.to_bytes().len() + 256 <= MESSAGE;
        plain.then(|| Order {
            uid: job.uid,
            gid: job.gid,
            loginuid: job.loginuid,
            argv: job.argv.to_vec(),
            path: job.path.to_vec(),
            env: job.env.to_vec(),
            cwd: job.cwd.to_owned(),
            limits: *job.limits,
            stdin: job.stdin.is_some(),
            script: job.script.is_some(),
            cgroup: job.cgroup.is_some(),
        })
    }

    /// The job again, with the descriptors that came with it.
    pub(super) fn job<'a>(&'a self, fds: &'a [OwnedFd]) -> Job<'a> {
        let mut fds = fds.iter().map(AsFd::as_fd);
        let mut next = |there: bool| if there { fds.next() } else { None };
        let cwd: &CStr = &self.cwd;
        Job {
            uid: self.uid,
            gid: self.gid,
            loginuid: self.loginuid,
            argv: &self.argv,
            places: &[],
            path: &self.path,
            env: &self.env,
            cwd,
            stdin: next(self.stdin),
            script: next(self.script),
            measured: &[],
            cgroup: next(self.cgroup),
            limits: &self.limits,
        }
    }

    /// Its pipes and the rest of what came beside it; `None` where that is not what belongs to it.
    pub(super) fn parts(&self, fds: Vec<OwnedFd>) -> Option<(Ends, Vec<OwnedFd>)> {
        let mut fds = fds.into_iter();
        let ends = [fds.next()?, fds.next()?, fds.next()?];
        let rest: Vec<OwnedFd> = fds.collect();
        let extra: usize = [self.stdin, self.script, self.cgroup]
            .map(usize::from)
            .iter()
            .sum();
        (rest.len() == extra).then_some((ends, rest))
    }
}

/// What goes beside the order for `job`.
pub(super) fn beside<'a>(ends: &'a Ends, job: &Job<'a>) -> Vec<BorrowedFd<'a>> {
    let rest = [job.stdin, job.script, job.cgroup].into_iter().flatten();
    ends.iter().map(AsFd::as_fd).chain(rest).collect()
}

/// Both ends of a socket for messages. On the first, an answer is waited for `patience_s` seconds at most.
pub(super) fn pair(patience_s: i64) -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, its) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?;
    setsockopt(
        &ours,
        sockopt::ReceiveTimeout,
        &TimeVal::seconds(patience_s),
    )?;
    Ok((ours, its))
}

/// What the zygote says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It can be asked.
    Ready,
    /// The job's pid, as the warden sees it.
    Forked(i32),
    /// The errno; nothing was forked.
    Failed(i32),
}

impl Answer {
    pub(super) fn to_bytes(self) -> [u8; ANSWER] {
        let (kind, number) = match self {
            Answer::Ready => (0, 0),
            Answer::Forked(pid) => (1, pid),
            Answer::Failed(errno) => (2, errno),
        };
        let [a, b, c, d] = number.to_le_bytes();
        [kind, 0, 0, 0, a, b, c, d]
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Answer> {
        let [kind, 0, 0, 0, a, b, c, d] = *bytes else {
            return None;
        };
        let number = i32::from_le_bytes([a, b, c, d]);
        match (kind, number) {
            (0, 0) => Some(Answer::Ready),
            (1, 2..) => Some(Answer::Forked(number)),
            (2, 1..) => Some(Answer::Failed(number)),
            _ => None,
        }
    }
}

/// Whether messages can come by it.
pub(super) fn is_socket(fd: BorrowedFd<'_>) -> bool {
    getsockopt(&fd, sockopt::SockType) == Ok(SockType::SeqPacket)
}

/// Sends one message.
pub(super) fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = postcard::to_stdvec(message).map_err(io::Error::other)?;
    let raw: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let slices = [IoSlice::new(&bytes)];
    sendmsg::<UnixAddr>(
        socket.as_raw_fd(),
        &slices,
        &rights,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(())
}

/// A child says that it is there, by a byte, and hands over the namespace that it is in.
pub(super) fn say_hello(socket: BorrowedFd<'_>, namespace: BorrowedFd<'_>) -> io::Result<()> {
    let raw = [namespace.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&raw)];
    let slices = [IoSlice::new(&[1])];
    let (socket, flags) = (socket.as_raw_fd(), MsgFlags::MSG_NOSIGNAL);
    sendmsg::<UnixAddr>(socket, &slices, &rights, flags, None)?;
    Ok(())
}

/// Waits for the next message; `None` at the end. No more memory is touched than it has bytes: what a process
/// touches, each of its forks pays for.
pub(super) fn receive<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    // unix(7): of a message that is only looked at, its whole length.
    let look = MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC;
    let length = recv(socket.as_raw_fd(), &mut [], look)?;
    let mut buffer = vec![0; length.min(MESSAGE)];
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let mut space = nix::cmsg_space!([i32; FDS]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags)?;
    let mut fds = Vec::with_capacity(FDS);
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = part {
            fds.extend(raw.into_iter().map(crate::floor::owned));
        }
    }
    let cut = message
        .flags
        .intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
    let bytes = message.bytes;
    if bytes == 0 {
        return Ok(None);
    }
    let bytes = buffer.get(..bytes).filter(|_| !cut);
    let decoded = bytes.and_then(|bytes| postcard::from_bytes(bytes).ok());
    match decoded {
        Some(message) => Ok(Some((message, fds))),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_what_was_said_or_nothing() {
        for answer in [
            Answer::Ready,
            Answer::Forked(4711),
            Answer::Failed(libc::EAGAIN),
        ] {
            assert_eq!(Answer::from_bytes(&answer.to_bytes()), Some(answer));
        }
        for bytes in [
            &[][..],
            &[0; 7],
            &[0; 9],
            &[0, 1, 0, 0, 0, 0, 0, 0],
            &[0, 0, 0, 0, 1, 0, 0, 0],
            &[1, 0, 0, 0, 1, 0, 0, 0],
            &[1, 0, 0, 0, 255, 255, 255, 255],
            &[2, 0, 0, 0, 0, 0, 0, 0],
            &[3, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(Answer::from_bytes(bytes), None, "{bytes:?}");
        }
    }
}
