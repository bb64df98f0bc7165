//! A child that waits for its job, as the warden has it.

use super::order::{self, Order, Request};
use super::room::Changes;
use super::{Process, end, watched};
use crate::floor::{self, Later};
use crate::sandbox::Base;
use crate::spawn::{pipes, vet};
use crate::{Job, Sandbox, Spawned};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, setsockopt, sockopt};
use std::{
    io::{self, IoSliceMut},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    rc::Rc,
};

/// How long it may take to be there, in seconds.
const PATIENCE_S: i64 = 1;

/// One that was asked for. It is ended and reaped when this is dropped: whose cgroup and uid it has, can then be
/// another's.
#[derive(Debug)]
pub struct Waiting {
    child: Child,
    zygote: Rc<Process>,
    /// In its cgroup, and under this uid and gid, it can become one job and no other.
    own: (u32, u32),
    /// Of the host's tree, since before its room was made.
    changes: Changes,
}

#[derive(Debug)]
enum Child {
    /// Whether it is there, it will say here.
    Asked(OwnedFd),
    There(There),
    /// It has its job, or never was there. Without a socket to hear from it would end by itself.
    None,
}

#[derive(Debug)]
struct There {
    socket: OwnedFd,
    pid: i32,
    pidfd: OwnedFd,
    /// The mount namespace that it is in, where it cannot cut that off by itself.
    room: Option<OwnedFd>,
}

impl Waiting {
    /// Asks `zygote` for one in `cgroup`, for the job of uid and gid `own`. Does not wait for it.
    pub(super) fn ask(
        zygote: &Rc<Process>,
        cgroup: Option<BorrowedFd<'_>>,
        own: (u32, u32),
    ) -> io::Result<Waiting> {
        let changes = Changes::here()?;
        let (ours, its) = order::pair(PATIENCE_S)?;
        // The kernel then says who it is, in this process's own pid namespace. unix(7).
        setsockopt(&ours, sockopt::PassCred, &true)?;
        let request = Request::Prepare {
            cgroup: cgroup.is_some(),
            own,
            // Each of them has the process in hand, and so has the one that forks.
            others: Rc::strong_count(zygote).saturating_sub(1),
        };
        let fds: Vec<_> = [Some(its.as_fd()), cgroup].into_iter().flatten().collect();
        order::send(zygote.socket.as_fd(), &request, &fds)?;
        Ok(Waiting {
            child: Child::Asked(ours),
            zygote: zygote.clone(),
            own,
            changes,
        })
    }

    /// Whether it waits for a job in this sandbox.
    pub fn serves(&self, sandbox: &Sandbox) -> bool {
        self.zygote.serves(sandbox)
    }

    /// Hangs up when it has ended.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        match &self.child {
            Child::Asked(socket) | Child::There(There { socket, .. }) => Some(socket.as_fd()),
            Child::None => None,
        }
    }

    /// Whether it has ended, or never came to be.
    pub fn has_ended(&self) -> bool {
        self.hears(PollFlags::empty(), PollTimeout::ZERO)
    }

    /// Waits until it has said something, or has ended, or will not be.
    pub fn wait(&self) {
        let patience = PollTimeout::try_from(PATIENCE_S * 1000);
        self.hears(PollFlags::POLLIN, patience.unwrap_or(PollTimeout::ZERO));
    }

    /// Whether there is one of `events`, or its end.
    fn hears(&self, events: PollFlags, patience: PollTimeout) -> bool {
        let Some(socket) = self.socket() else {
            return true;
        };
        poll(&mut [PollFd::new(socket, events)], patience).is_ok_and(|heard| heard > 0)
    }

    /// Makes it the job, which has to be the one in its cgroup; `host` is the namespace that this process is in. `None`:
    /// the job is not for it, it is not there, or its room is not the host's tree as that is now. Then nothing ran,
    /// and it has ended.
    pub(super) fn become_job(
        mut self,
        host: BorrowedFd<'_>,
        sandbox: &Sandbox,
        job: &Job<'_>,
    ) -> Option<Spawned> {
        let fits = self.serves(sandbox) && self.own == (job.uid, job.gid);
        (fits && vet(sandbox, job).is_ok()).then_some(())?;
        let order = Order::of(sandbox, job)?;
        let room = self.there()?.room.take();
        // A strict one is in no room, and has cut itself off.
        if matches!(sandbox.base, Base::Read(_)) {
            cut_off(room?.as_fd(), host).ok()?;
            // Asked last: what the host mounted before is in there, too.
            (!self.changes.any().ok()?).then_some(())?;
        }
        let there = self.there()?;
        let (pipes, ends) = pipes(sandbox, job).ok()?;
        let fds = order::beside(&ends, job);
        order::send(there.socket.as_fd(), &order, &fds).ok()?;
        // It is the job now, and whoever has that reaps it.
        match std::mem::replace(&mut self.child, Child::None) {
            Child::There(There { pid, pidfd, .. }) => Some(pipes.of(pid, pidfd)),
            Child::Asked(_) | Child::None => None,
        }
    }

    /// It, as soon as it is there. One that was born and does not get there is ended and reaped.
    fn there(&mut self) -> Option<&mut There> {
        if let Child::Asked(_) = self.child
            && let Child::Asked(socket) = std::mem::replace(&mut self.child, Child::None)
            && let Ok((pid, _)) = self.in_time(|| word(socket.as_fd()))
            && let Ok(pidfd) = watched(pid)
        {
            match self.in_time(|| word(socket.as_fd())) {
                Ok((_, room)) => {
                    self.child = Child::There(There {
                        socket,
                        pid,
                        pidfd,
                        room,
                    });
                }
                Err(_) => end(pid, pidfd.as_fd()),
            }
        }
        match &mut self.child {
            Child::There(there) => Some(there),
            Child::Asked(_) | Child::None => None,
        }
    }

    /// Ends a zygote that hangs, or has forked one that does: else each job would wait for it. What it has forked
    /// and what it has not is known once it has ended, so it is listened to once more.
    fn in_time<T>(&self, listen: impl Fn() -> io::Result<T>) -> io::Result<T> {
        listen().or_else(|error| match error.kind() {
            // Of one that has ended before, there was time enough to hear.
            io::ErrorKind::WouldBlock if !self.zygote.ended.get() => {
                self.zygote.end();
                listen()
            }
            _ => Err(error),
        })
    }
}

/// Cuts a room off from the host's tree, from within: this process goes there and back. It must be in `host`, and of one
/// thread.
fn cut_off(room: BorrowedFd<'_>, host: BorrowedFd<'_>) -> io::Result<()> {
    floor::set_namespace(room, libc::CLONE_NEWNS)?;
    let cut = floor::set_whole_tree(0, Later::CutOff);
    if floor::set_namespace(host, libc::CLONE_NEWNS).is_err() {
        // Better no daemon than one that works in the tree of a job.
        std::process::abort();
    }
    cut
}

/// What it says first, when it is born, and again when it is there, then with the namespace of its room; and who the
/// kernel says it is.
fn word(socket: BorrowedFd<'_>) -> io::Result<(i32, Option<OwnedFd>)> {
    let mut byte = [0];
    let mut space = nix::cmsg_space!(libc::ucred, [i32; 1]);
    let (mut pid, mut room) = (0, None);
    let length = loop {
        let mut slices = [IoSliceMut::new(&mut byte)];
        let (socket, flags) = (socket.as_raw_fd(), MsgFlags::MSG_CMSG_CLOEXEC);
        match recvmsg::<UnixAddr>(socket, &mut slices, Some(&mut space), flags) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(message) => {
                for part in message.cmsgs()? {
                    match part {
                        ControlMessageOwned::ScmCredentials(who) => pid = who.pid(),
                        ControlMessageOwned::ScmRights(raw) => {
                            room = raw.into_iter().map(floor::owned).next_back();
                        }
                        _ => {}
                    }
                }
                break message.bytes;
            }
        }
    };
    match (length, pid) {
        (1, 2..) => Ok((pid, room)),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

impl Drop for Waiting {
    /// Waits until it has ended, wherever it is on its way.
    fn drop(&mut self) {
        match std::mem::replace(&mut self.child, Child::None) {
            Child::There(There { pid, pidfd, .. }) => end(pid, pidfd.as_fd()),
            Child::Asked(socket) => {
                if let Ok((pid, _)) = self.in_time(|| word(socket.as_fd()))
                    && let Ok(pidfd) = watched(pid)
                {
                    end(pid, pidfd.as_fd());
                }
            }
            Child::None => {}
        }
    }
}
