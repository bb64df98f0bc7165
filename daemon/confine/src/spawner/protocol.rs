//! Messages between spawner and worker: one datagram each, with descriptors.

use crate::spawner::direct::Ends;
use crate::spec::recipe::Recipe;
use crate::{Job, Limits, Sandbox};
use remit_spawn::{Order, socket};
use serde::{Deserialize, Serialize};
use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

pub(super) use remit_spawn::socket::{is_socket, pair, receive, send};

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

/// Returns the order for a job that a worker can fork; its descriptors are the job's three ends, then its own. `None`
/// for a job that has paths, secrets or hashed files, or private directories of another size than in the mount
/// namespace. Also if a user's tasks must be counted: that takes as long as untrusted users have processes, and needs
/// the host's `/proc`.
pub(super) fn plain(sandbox: &Sandbox, job: &Job<'_>) -> Option<Order> {
    let tmp = |limits: &Limits| (limits.tmp_bytes, limits.tmp_inodes);
    let plain = job.arguments.is_empty()
        && job.measured.is_empty()
        && job.limits.others.is_none()
        && tmp(job.limits) == tmp(&sandbox.limits);
    plain.then(|| Order::new(job))
}

pub(super) fn beside<'a>(ends: &'a Ends, job: &Job<'a>) -> Vec<BorrowedFd<'a>> {
    ends.iter()
        .map(AsFd::as_fd)
        .chain(Order::fds(job))
        .collect()
}

pub(super) fn parts(fds: Vec<OwnedFd>) -> Option<(Ends, Vec<OwnedFd>)> {
    let mut fds = fds.into_iter();
    let ends = [fds.next()?, fds.next()?, fds.next()?];
    Some((ends, fds.collect()))
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

/// Lets the child that got its order execute it. Until then only the child and the warden have its pipes.
pub(super) fn begin(socket: BorrowedFd<'_>) -> io::Result<()> {
    socket::send_bytes(socket, &[1], &[])
}

pub(super) fn may_begin(socket: BorrowedFd<'_>) -> bool {
    matches!(crate::sys::read(socket, &mut [0]), Ok(1))
}

pub(super) fn say_hello(socket: BorrowedFd<'_>, namespace: BorrowedFd<'_>) -> io::Result<()> {
    socket::send_bytes(socket, &[1], &[namespace.as_raw_fd()])
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
