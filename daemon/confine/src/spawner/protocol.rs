//! Messages between warden and worker: one datagram each, with descriptors.

use crate::spawner::direct::Ends;
use crate::spec::limits::Limits;
use crate::spec::recipe::Recipe;
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

/// Maximum bytes of a message: the warden itself forks a larger job.
pub(super) const MESSAGE: usize = 64 << 10;
/// Maximum descriptors of a message: three pipes, stdin, script, cgroup, and what a child waits for.
const FDS: usize = 7;
pub(super) const ANSWER: usize = 8;

/// The first message. Its descriptors: the warden's pidfd, and the switch that ends all jobs.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) recipe: Recipe,
}

impl Setup {
    pub(super) fn new(recipe: &Recipe) -> Setup {
        Setup {
            recipe: recipe.clone(),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    Fork(Box<Order>),
    /// Pre-forks a child that waits for its order on the first descriptor, a socket. The second is its cgroup, if
    /// `cgroup` is set. On the socket the child reports that it was forked, then that it is ready. If there is no
    /// child, the socket ends. `own`: uid and gid of its future job. `others`: how many children wait already.
    Prepare {
        cgroup: bool,
        own: (u32, u32),
        others: usize,
    },
    DropPreforked,
}

/// One job. Its descriptors: stdout, stderr, steps, then stdin, script and cgroup as far as they are set.
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
    /// Returns `None` for a job that has what is not sent, or simply too much: paths, secrets, hashed files, or
    /// private directories of another size than in the mount namespace. Also if a user's tasks must be counted: that
    /// takes as long as untrusted users have processes, and needs the host's `/proc`.
    pub(super) fn new(sandbox: &Sandbox, job: &Job<'_>) -> Option<Order> {
        let tmp = |limits: &Limits| (limits.tmp_bytes, limits.tmp_inodes);
        let strings = job.argv.iter().chain(job.path).chain(job.env);
        // A few bytes each for its length.
        let bytes: usize = strings.map(|s| s.as_bytes().len() + 4).sum();
        let plain = job.arguments.is_empty()
            && job.measured.is_empty()
            && job.limits.others.is_none()
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

    pub(super) fn job<'a>(&'a self, fds: &'a [OwnedFd]) -> Job<'a> {
        let mut fds = fds.iter().map(AsFd::as_fd);
        let mut next = |there: bool| if there { fds.next() } else { None };
        let cwd: &CStr = &self.cwd;
        Job {
            uid: self.uid,
            gid: self.gid,
            loginuid: self.loginuid,
            argv: &self.argv,
            arguments: &[],
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

pub(super) fn beside<'a>(ends: &'a Ends, job: &Job<'a>) -> Vec<BorrowedFd<'a>> {
    let rest = [job.stdin, job.script, job.cgroup].into_iter().flatten();
    ends.iter().map(AsFd::as_fd).chain(rest).collect()
}

pub(super) fn pair(patience_s: i64) -> io::Result<(OwnedFd, OwnedFd)> {
    let (own_end, its) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?;
    setsockopt(
        &own_end,
        sockopt::ReceiveTimeout,
        &TimeVal::seconds(patience_s),
    )?;
    Ok((own_end, its))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WorkerReply {
    Ready,
    Forked(i32),
    Failed(i32),
}

impl WorkerReply {
    pub(super) fn to_bytes(self) -> [u8; ANSWER] {
        let (kind, number) = match self {
            WorkerReply::Ready => (0, 0),
            WorkerReply::Forked(pid) => (1, pid),
            WorkerReply::Failed(errno) => (2, errno),
        };
        let [a, b, c, d] = number.to_le_bytes();
        [kind, 0, 0, 0, a, b, c, d]
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<WorkerReply> {
        let [kind, 0, 0, 0, a, b, c, d] = *bytes else {
            return None;
        };
        let number = i32::from_le_bytes([a, b, c, d]);
        match (kind, number) {
            (0, 0) => Some(WorkerReply::Ready),
            (1, 2..) => Some(WorkerReply::Forked(number)),
            (2, 1..) => Some(WorkerReply::Failed(number)),
            _ => None,
        }
    }
}

pub(super) fn is_socket(fd: BorrowedFd<'_>) -> bool {
    getsockopt(&fd, sockopt::SockType) == Ok(SockType::SeqPacket)
}

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

/// Lets the child that got its order execute it. Until then only the child and the warden have its pipes.
pub(super) fn begin(socket: BorrowedFd<'_>) -> io::Result<()> {
    let (byte, flags) = ([IoSlice::new(&[1])], MsgFlags::MSG_NOSIGNAL);
    sendmsg::<UnixAddr>(socket.as_raw_fd(), &byte, &[], flags, None)?;
    Ok(())
}

pub(super) fn may_begin(socket: BorrowedFd<'_>) -> bool {
    matches!(crate::sys::read(socket, &mut [0]), Ok(1))
}

pub(super) fn say_hello(socket: BorrowedFd<'_>, namespace: BorrowedFd<'_>) -> io::Result<()> {
    let raw = [namespace.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&raw)];
    let slices = [IoSlice::new(&[1])];
    let (socket, flags) = (socket.as_raw_fd(), MsgFlags::MSG_NOSIGNAL);
    sendmsg::<UnixAddr>(socket, &slices, &rights, flags, None)?;
    Ok(())
}

/// Waits for the next message; `None` at the end. Touches no more memory than the message has bytes, because each fork
/// of a process pays for what it touches.
pub(super) fn receive<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    // unix(7): recv returns the whole length of a message, and leaves it in the queue.
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
            fds.extend(raw.into_iter().map(crate::sys::owned));
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
            WorkerReply::Ready,
            WorkerReply::Forked(4711),
            WorkerReply::Failed(libc::EAGAIN),
        ] {
            assert_eq!(WorkerReply::from_bytes(&answer.to_bytes()), Some(answer));
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
            assert_eq!(WorkerReply::from_bytes(bytes), None, "{bytes:?}");
        }
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
