//! A job's child, as the spawner sees it until it has its job.

use super::Process;
use super::host::{Changes, HostTree};
use super::pipes::{Pipes, Spawned, pipes};
use super::protocol::{self, Report, Request};
use super::shutdown::{end, watched};
use crate::steps::prepare::{PrivateSize, private_size};
use crate::steps::private_root::Seen;
use crate::{Job, Sandbox};
use nix::sys::socket::{MsgFlags, setsockopt, sockopt};
use remit_spawn::Order;
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    rc::Rc,
};

/// A child that was asked for. Dropping it ends the child: its cgroup and uid can then be another job's.
#[derive(Debug)]
pub(super) struct Child {
    worker: Rc<Process>,
    /// With its cgroup, uid and gid it can become only one job.
    own: (u32, u32),
    size: PrivateSize,
    /// Without it the child ends by itself.
    socket: OwnedFd,
    process: ChildProcess,
    pipes: Option<Pipes>,
}

#[derive(Debug)]
enum ChildProcess {
    Unreported,
    Here(i32, OwnedFd),
    /// There is none, or it is the job now: then the job's owner reaps it, even if it ends before it hears that it may
    /// begin.
    Foreign,
}

impl Child {
    pub(super) fn ask(
        worker: &Rc<Process>,
        sandbox: &Sandbox,
        (socket, its): (OwnedFd, OwnedFd),
        cgroup: Option<BorrowedFd<'_>>,
        own: (u32, u32),
        size: PrivateSize,
        is_waiting: bool,
    ) -> io::Result<Child> {
        protocol::set_patience(&socket, super::PATIENCE_S)?;
        // The kernel then reports its pid in this process's own pid namespace. unix(7).
        setsockopt(&socket, sockopt::PassCred, &true)?;
        let request = Request::Fork {
            cgroup: cgroup.is_some(),
            own,
            size,
            is_waiting,
        };
        let fds: Vec<_> = [Some(its.as_fd()), cgroup].into_iter().flatten().collect();
        protocol::send(worker.socket.as_fd(), &request, &fds)?;
        let mut child = Child {
            worker: worker.clone(),
            own,
            size,
            socket,
            process: ChildProcess::Unreported,
            pipes: None,
        };
        let (pipes, ends) = pipes(sandbox, own).map_err(io::Error::other)?;
        // Closed here before it can execute anything, so before anyone can hold the locks of these pipes.
        protocol::send_ends(child.socket.as_fd(), &ends)?;
        child.pipes = Some(pipes);
        Ok(child)
    }

    /// Gives it its job. It executes nothing yet. After an error it never will.
    pub(super) fn become_job(mut self, job: &Job<'_>) -> io::Result<Held> {
        protocol::send(self.socket.as_fd(), &Order::new(job), &Order::fds(job))?;
        self.wait_forked()?;
        let process = std::mem::replace(&mut self.process, ChildProcess::Foreign);
        let (ChildProcess::Here(pid, pidfd), Some(pipes)) = (process, self.pipes.take()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let [stdout, stderr] = pipes.output;
        let spawned = Spawned {
            pid,
            pidfd,
            stdout,
            stderr,
            steps: pipes.steps,
        };
        Ok(Held {
            spawned,
            child: self,
            mount_ns: None,
        })
    }

    /// Lets it execute its job. Its worker keeps the mount namespace, and hears of that only now: nobody waits for it.
    fn begin(self, mount_ns: Option<OwnedFd>) {
        let _ = protocol::begin(self.socket.as_fd());
        if let Some(mount_ns) = mount_ns {
            // Without the worker the job ends a little later.
            let fds = [mount_ns.as_fd()];
            let _ = protocol::send(self.worker.socket.as_fd(), &Request::Keep, &fds);
        }
    }

    fn wait_forked(&mut self) -> io::Result<()> {
        if let ChildProcess::Unreported = self.process {
            self.process = ChildProcess::Foreign;
            match self.hear()? {
                (Report::Forked, pid @ 2.., _) => {
                    self.process = ChildProcess::Here(pid, watched(pid)?);
                }
                (Report::Failed(errno), ..) => return Err(io::Error::from_raw_os_error(errno)),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Ok(())
    }

    /// Waits until it is prepared. Returns its mount namespace, if it has one that must be cut off, and what its root
    /// shows.
    fn wait_prepared(&mut self) -> io::Result<(Option<OwnedFd>, Option<Seen>)> {
        self.wait_forked()?;
        match self.hear()? {
            (Report::Prepared(shown), _, mount_ns) => Ok((mount_ns, shown)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Ends a worker that hangs, or has forked a child that does: otherwise each job would wait for it. Only after its
    /// end is it known what it has forked, so it is listened to once more.
    fn hear(&self) -> io::Result<(Report, i32, Option<OwnedFd>)> {
        let hear = || Report::hear(self.socket.as_fd(), MsgFlags::empty());
        hear().or_else(|error| match error.kind() {
            // A worker that ended before had time enough to report.
            io::ErrorKind::WouldBlock if !self.worker.ended.get() => {
                self.worker.end();
                hear()
            }
            _ => Err(error),
        })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.wait_forked();
        if let ChildProcess::Here(pid, pidfd) = &self.process {
            end(*pid, pidfd.as_fd());
        }
    }
}

/// A child that has its job and executes nothing yet. Dropping it ends the child.
#[derive(Debug)]
pub struct Held {
    spawned: Spawned,
    child: Child,
    mount_ns: Option<OwnedFd>,
}

impl Held {
    pub fn start(self) -> Spawned {
        self.child.begin(self.mount_ns);
        self.spawned
    }

    /// Gives the child to the process whose it is, and lets it go on. By then this process has no end of its pipes:
    /// whoever closes the last descriptor of an end can wait for one who holds the pipe's lock, and only an executed
    /// program can.
    pub fn hand_over(self, give: impl FnOnce(&Spawned) -> io::Result<()>) -> io::Result<()> {
        give(&self.spawned)?;
        drop(self.spawned);
        self.child.begin(self.mount_ns);
        Ok(())
    }
}

/// A child that waits for its job.
#[derive(Debug)]
pub struct PreforkedChild {
    child: Child,
    /// Changes of the host's tree since before its fork.
    changes: Changes,
}

impl PreforkedChild {
    pub(super) fn ask(
        worker: &Rc<Process>,
        sandbox: &Sandbox,
        sockets: (OwnedFd, OwnedFd),
        cgroup: Option<BorrowedFd<'_>>,
        own: (u32, u32),
    ) -> io::Result<PreforkedChild> {
        let changes = Changes::here()?;
        let size = private_size(&sandbox.limits);
        let child = Child::ask(worker, sandbox, sockets, cgroup, own, size, true)?;
        Ok(PreforkedChild { child, changes })
    }

    /// Makes the child the job, which must be the one of its cgroup. `None`: the job does not fit, the child is not
    /// prepared, or the host's tree has changed since. Then nothing ran, and the child has ended.
    pub(super) fn become_job(
        mut self,
        host: &HostTree,
        sandbox: &Sandbox,
        job: &Job<'_>,
    ) -> Option<Held> {
        let child = &self.child;
        let fits = child.worker.serves(sandbox)
            && child.own == (job.uid, job.gid)
            && child.size == private_size(job.limits);
        fits.then_some(())?;
        let (mount_ns, shown) = self.child.wait_prepared().ok()?;
        if let Some(mount_ns) = &mount_ns {
            host.cut_off(mount_ns.as_fd()).ok()?;
        }
        // Asked last, because what the host mounted before is in there, too.
        let is_as_then = host.is_as(&self.changes, shown.as_ref(), sandbox);
        is_as_then.ok()?.then_some(())?;
        let held = self.child.become_job(job).ok()?;
        Some(Held { mount_ns, ..held })
    }
}
