//! A pre-forked child, as the spawner sees it.

use super::Process;
use super::watched;
use crate::spawner::direct::{Gate, pipes, vet};
use crate::spawner::mount_ns::Changes;
use crate::spawner::protocol::{self, Request};
use crate::spawner::shutdown::end;
use crate::spec::compiled::Base;
use crate::sys::{self, Propagation};
use crate::{Held, Job, Sandbox};
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, setsockopt, sockopt};
use std::{
    io::{self, IoSliceMut},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    rc::Rc,
};

const PATIENCE_S: i64 = 1;

/// A requested pre-forked child. Dropping it ends and reaps it: its cgroup and uid can then be another job's.
#[derive(Debug)]
pub struct PreforkedChild {
    child: Child,
    worker: Rc<Process>,
    /// With its cgroup, uid and gid it can become only one job.
    own: (u32, u32),
    /// Changes of the host's tree since before its mount namespace was made.
    changes: Changes,
}

#[derive(Debug)]
enum Child {
    Requested(OwnedFd),
    Ready(Ready),
    /// It has its job, or was never ready. Without the socket it would end by itself.
    None,
}

#[derive(Debug)]
struct Ready {
    socket: OwnedFd,
    pid: i32,
    pidfd: OwnedFd,
    /// The mount namespace that it is in, if it cannot cut that off itself.
    mount_ns: Option<OwnedFd>,
}

impl PreforkedChild {
    pub(super) fn ask(
        worker: &Rc<Process>,
        cgroup: Option<BorrowedFd<'_>>,
        own: (u32, u32),
    ) -> io::Result<PreforkedChild> {
        let changes = Changes::here()?;
        let (own_end, its) = protocol::pair(PATIENCE_S)?;
        // The kernel then reports its pid in this process's own pid namespace. unix(7).
        setsockopt(&own_end, sockopt::PassCred, &true)?;
        let request = Request::Prepare {
            cgroup: cgroup.is_some(),
            own,
            // Each waiting child holds the process, and so does the worker's own handle.
            others: Rc::strong_count(worker).saturating_sub(1),
        };
        let fds: Vec<_> = [Some(its.as_fd()), cgroup].into_iter().flatten().collect();
        protocol::send(worker.socket.as_fd(), &request, &fds)?;
        Ok(PreforkedChild {
            child: Child::Requested(own_end),
            worker: worker.clone(),
            own,
            changes,
        })
    }

    pub fn serves(&self, sandbox: &Sandbox) -> bool {
        self.worker.serves(sandbox)
    }

    /// Hangs up when the child has ended.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        match &self.child {
            Child::Requested(socket) | Child::Ready(Ready { socket, .. }) => Some(socket.as_fd()),
            Child::None => None,
        }
    }

    /// Makes the child the job, which must be the one of its cgroup. `host` is the namespace that this process is in.
    /// `None`: the job does not fit, the child is not ready, or its namespace is not the host's tree as that is now.
    /// Then nothing ran, and the child has ended.
    pub(super) fn become_job(
        mut self,
        host: BorrowedFd<'_>,
        sandbox: &Sandbox,
        job: &Job<'_>,
    ) -> Option<Held> {
        let fits = self.serves(sandbox) && self.own == (job.uid, job.gid);
        (fits && vet(sandbox, job).is_ok()).then_some(())?;
        let order = protocol::plain(sandbox, job)?;
        let mount_ns = self.ready()?.mount_ns.take();
        // A `strict` child is in no such namespace, and has cut itself off.
        if matches!(sandbox.base, Base::Read(_)) {
            cut_off(mount_ns?.as_fd(), host).ok()?;
            // Asked last, because what the host mounted before is in there, too.
            (!self.changes.any().ok()?).then_some(())?;
        }
        let ready = self.ready()?;
        let (pipes, ends) = pipes(sandbox, job).ok()?;
        let fds = protocol::beside(&ends, job);
        protocol::send(ready.socket.as_fd(), &order, &fds).ok()?;
        // Before it can execute anything, so before anyone can hold the locks of these pipes.
        drop(ends);
        // It is the job now, and the job's owner reaps it, even if it ends before it hears that it may begin.
        match std::mem::replace(&mut self.child, Child::None) {
            Child::Ready(Ready {
                socket, pid, pidfd, ..
            }) => Some(pipes.held(pid, pidfd, Gate::Socket(socket))),
            Child::Requested(_) | Child::None => None,
        }
    }

    /// Returns the child as soon as it is ready. One that was forked but does not get ready is ended and reaped.
    fn ready(&mut self) -> Option<&mut Ready> {
        if let Child::Requested(_) = self.child
            && let Child::Requested(socket) = std::mem::replace(&mut self.child, Child::None)
            && let Ok((pid, _)) = self.in_time(|| read_report(socket.as_fd()))
            && let Ok(pidfd) = watched(pid)
        {
            match self.in_time(|| read_report(socket.as_fd())) {
                Ok((_, mount_ns)) => {
                    self.child = Child::Ready(Ready {
                        socket,
                        pid,
                        pidfd,
                        mount_ns,
                    });
                }
                Err(_) => end(pid, pidfd.as_fd()),
            }
        }
        match &mut self.child {
            Child::Ready(ready) => Some(ready),
            Child::Requested(_) | Child::None => None,
        }
    }

    /// Ends a worker that hangs, or has forked a child that does: otherwise each job would wait for it. Only after its
    /// end is it known what it has forked, so it is listened to once more.
    fn in_time<T>(&self, listen: impl Fn() -> io::Result<T>) -> io::Result<T> {
        listen().or_else(|error| match error.kind() {
            // A worker that ended before had time enough to report.
            io::ErrorKind::WouldBlock if !self.worker.ended.get() => {
                self.worker.end();
                listen()
            }
            _ => Err(error),
        })
    }
}

/// Cuts a mount namespace off from within: this process, of one thread, enters it and comes back to `host`.
fn cut_off(mount_ns: BorrowedFd<'_>, host: BorrowedFd<'_>) -> io::Result<()> {
    sys::set_namespace(mount_ns, libc::CLONE_NEWNS)?;
    let cut = sys::set_whole_tree(0, Propagation::Private);
    if sys::set_namespace(host, libc::CLONE_NEWNS).is_err() {
        // No daemon is better than one that works in the tree of a job.
        std::process::abort();
    }
    cut
}

/// Reads a report: that the child was forked, or is ready, with its mount namespace. The kernel adds its pid.
fn read_report(socket: BorrowedFd<'_>) -> io::Result<(i32, Option<OwnedFd>)> {
    let mut byte = [0];
    let mut space = nix::cmsg_space!(libc::ucred, [i32; 1]);
    let (mut pid, mut mount_ns) = (0, None);
    let length = loop {
        let mut slices = [IoSliceMut::new(&mut byte)];
        let (socket, flags) = (socket.as_raw_fd(), MsgFlags::MSG_CMSG_CLOEXEC);
        match recvmsg::<UnixAddr>(socket, &mut slices, Some(&mut space), flags) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(message) => {
                for part in message.cmsgs()? {
                    match part {
                        ControlMessageOwned::ScmCredentials(credentials) => pid = credentials.pid(),
                        ControlMessageOwned::ScmRights(raw) => {
                            mount_ns = raw.into_iter().map(sys::owned).next_back();
                        }
                        _ => {}
                    }
                }
                break message.bytes;
            }
        }
    };
    match (length, pid) {
        (1, 2..) => Ok((pid, mount_ns)),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

impl Drop for PreforkedChild {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.child, Child::None) {
            Child::Ready(Ready { pid, pidfd, .. }) => end(pid, pidfd.as_fd()),
            Child::Requested(socket) => {
                if let Ok((pid, _)) = self.in_time(|| read_report(socket.as_fd()))
                    && let Ok(pidfd) = watched(pid)
                {
                    end(pid, pidfd.as_fd());
                }
            }
            Child::None => {}
        }
    }
}
