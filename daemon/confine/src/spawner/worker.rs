//! The worker's own life: it sets itself up, makes a mount namespace, forks a job into it, and makes the next one.

use super::{Family, Forker, NAME, SOCKET};
use crate::spawner::direct::{vet, with_child_env};
use crate::spawner::mount_ns::{Changes, HostMounts, JobMountNs};
use crate::spawner::preforked::{EarlyChild, PreforkedStrict};
use crate::spawner::protocol::{self, Request, Setup, WorkerReply};
use crate::steps::checklist;
use crate::steps::report::Fault;
use crate::supervise::watchdog;
use crate::sys::{self, ForkCall};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use remit_spawn::Order;
use remit_sys::{Doing, Error, Result};
use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, OwnedFd},
    os::unix::ffi::OsStrExt,
};

/// Milliseconds in which the warden must end once its socket is closed.
const ENDING_MS: u32 = 1000;
/// Milliseconds for which a namespace is kept for its job to end in. It does not follow the host's unmounts.
const KEPT_MS: u16 = 20;

pub fn is_worker() -> bool {
    std::env::args_os().eq([std::ffi::OsStr::from_bytes(NAME.to_bytes())])
}

pub fn serve() -> u8 {
    let Err(error) = try_serve() else {
        return 0;
    };
    let source = std::error::Error::source(&error);
    let source = source.map_or(String::new(), |source| format!(": {source}"));
    let text = format!("remit-zygote: {error}{source}\n");
    let _ = sys::write(sys::borrowed(2), text.as_bytes());
    1
}

fn try_serve() -> Result<()> {
    let refused = |why: &str| Error::refused("cannot be a worker", why.to_owned());
    // If somebody else has executed this program, the number is nobody's.
    if !protocol::is_socket(sys::borrowed(SOCKET)) {
        return Err(refused("it has no socket: only remit-spawner starts it"));
    }
    let socket = sys::owned(SOCKET);
    let first = protocol::receive::<Setup>(socket.as_fd());
    let Ok(Some((setup, fds))) = first else {
        return Err(refused("it has no recipe: only remit-spawner starts it"));
    };
    let Ok([warden, switch]) = <[OwnedFd; 2]>::try_from(fds) else {
        return Err(refused("it has no descriptor of the kill switch"));
    };
    let guard = Guard {
        family: Family::of_parent(warden),
        switch,
    };
    let sandbox = setup.recipe.sandbox()?;
    let forker = Forker::new(&sandbox)?;
    let looking = || "cannot look at the host's mounts".into();
    let (moved, host_mounts) = (
        Changes::here().doing(looking)?,
        HostMounts::here().doing(looking)?,
    );
    if host_mounts.is_chroot().doing(looking)? {
        return Err(refused("its root is not the root of its mount namespace"));
    }
    let settled = || {
        sys::close_on_exec(socket.as_fd())?;
        sys::set_name(NAME)?;
        forker.set_inherited_state()
    };
    settled().doing(|| "a worker cannot set itself up".into())?;
    let worker = Worker {
        socket,
        forker,
        keeps: host_mounts.is_shared().unwrap_or(false),
        moved,
        host_mounts,
        guard: &guard,
        waiting: VecDeque::new(),
        left: Vec::new(),
    };
    let ran = worker.run();
    // When the warden dies, the spawner's socket may close, and writes to it fail, before the warden's pidfd reports it.
    if sys::wait_readable(guard.family.pidfd(), Some(ENDING_MS)) {
        guard.pull();
        return Ok(());
    }
    ran.doing(|| "a worker cannot continue".into())
}

struct Guard {
    family: Family,
    switch: OwnedFd,
}

impl Guard {
    fn pull(&self) {
        watchdog::pull(self.switch.as_fd());
    }
}

struct Worker<'a> {
    socket: OwnedFd,
    forker: Forker<'a>,
    host_mounts: HostMounts,
    /// Changes of the host's tree; only for this loop, because asking resets the answer.
    moved: Changes,
    /// If set, a mount namespace may wait, and one that was left may be kept.
    keeps: bool,
    guard: &'a Guard,
    /// What keeps the namespaces of waiting children, the oldest first.
    waiting: VecDeque<OwnedFd>,
    /// What keeps the namespaces of the last jobs, so that these do not wait for a namespace's end.
    left: Vec<OwnedFd>,
}

impl Worker<'_> {
    fn run(mut self) -> io::Result<()> {
        self.answer(WorkerReply::Ready)?;
        loop {
            if !self.wait()? {
                continue;
            }
            let received = protocol::receive(self.socket.as_fd())?;
            let Some((request, fds)) = received else {
                return Ok(());
            };
            // The job before has mostly ended. Not later: a child has copies of all descriptors for a while, and
            // whoever closes the last one of a namespace waits for its end.
            self.left.clear();
            match request {
                Request::Fork(order) => self.carry_out(&order, fds)?,
                Request::Prepare {
                    cgroup,
                    own,
                    others,
                } => {
                    self.keep(others);
                    self.prepare(cgroup, own, fds);
                }
                Request::DropPreforked => self.keep(0),
            }
            self.host_mounts.leave()?;
        }
    }

    /// Waits for something to do, and drops what is not needed any more, so that nothing of the host's is held longer
    /// than necessary. Returns true if there is a message.
    fn wait(&mut self) -> io::Result<bool> {
        let mut fds = [
            PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.moved.as_fd(), PollFlags::POLLPRI),
            PollFd::new(self.guard.family.pidfd(), PollFlags::POLLIN),
        ];
        let patience = match self.left.is_empty() {
            false => PollTimeout::from(KEPT_MS),
            true => PollTimeout::NONE,
        };
        let ready = match poll(&mut fds, patience) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        };
        let [message, moved, orphaned] = fds.map(|fd| fd.any() == Some(true));
        if orphaned {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if moved {
            self.keeps = self.host_mounts.is_shared().unwrap_or(false);
        }
        // Waiting children are useless after a change, and a job's namespace does not follow the host.
        if moved {
            self.waiting.clear();
        }
        if moved || ready == 0 {
            self.left.clear();
        }
        Ok(message)
    }

    /// Keeps the namespaces of the `waiting` youngest children. The others are in use by jobs, or unused.
    fn keep(&mut self, waiting: usize) {
        let taken = self.waiting.len().saturating_sub(waiting);
        self.left.extend(self.waiting.drain(..taken));
    }

    fn prepare(&mut self, cgroup: bool, own: (u32, u32), fds: Vec<OwnedFd>) {
        if let Ok(mount_ns) = self.prefork(cgroup, own, fds) {
            self.waiting.extend(mount_ns.map(JobMountNs::left));
        }
    }

    fn prefork(
        &self,
        cgroup: bool,
        own: (u32, u32),
        fds: Vec<OwnedFd>,
    ) -> io::Result<Option<JobMountNs>> {
        let (socket, cgroup) = match (&fds[..], cgroup) {
            ([socket, cgroup], true) => (socket, Some(cgroup.as_fd())),
            ([socket], false) => (socket, None),
            _ => return Err(io::Error::from_raw_os_error(libc::EBADMSG)),
        };
        let busy = || Err(io::ErrorKind::ResourceBusy.into());
        if !self.keeps {
            return busy();
        }
        // A `strict` child itself asks if the host's tree has changed; for others the warden asks.
        let strict = self.forker.is_strict().then(HostMounts::here).transpose()?;
        let host_mounts = strict.as_ref().unwrap_or(&self.host_mounts);
        let Guard { family, switch } = self.guard;
        let always = [self.socket.as_fd(), family.pidfd(), switch.as_fd()];
        let own_fds = self.waiting.iter().chain(&self.left).map(AsFd::as_fd);
        let foreign: Vec<_> = own_fds.chain(always).chain(cgroup).collect();
        let early = EarlyChild {
            forker: &self.forker,
            host_mounts,
            socket: socket.as_fd(),
            family,
            foreign: &foreign,
        };
        let fork = |child: &dyn Fn() -> i32| family.fork(ForkCall::Clone3, cgroup, child);
        if self.forker.is_strict() {
            let strict = PreforkedStrict::new(&self.forker, host_mounts, own, None)?;
            if !strict.may_wait()? {
                return busy();
            }
            fork(&|| early.live_strict(&strict))?;
            return Ok(None);
        }
        let mount_ns = self
            .forker
            .mount_ns(host_mounts)
            .map_err(Fault::into_error)?;
        fork(&|| early.live_in(&mount_ns))?;
        Ok(Some(mount_ns))
    }

    fn carry_out(&mut self, order: &Order, fds: Vec<OwnedFd>) -> io::Result<()> {
        let forked = match self.forker.current_mount_ns(&self.host_mounts) {
            Err(fault) => Err(fault.into_error()),
            Ok(mount_ns) => {
                let forked = self.fork(&mount_ns, order, fds);
                self.left.extend(self.keeps.then(|| mount_ns.left()));
                // From here on only the child is in it.
                self.host_mounts.leave()?;
                forked
            }
        };
        match forked {
            // Each order gets one answer, whatever becomes of the child.
            Ok(pid) => self.answer(WorkerReply::Forked(pid)),
            Err(error) => self.answer(WorkerReply::Failed(
                error.raw_os_error().unwrap_or(libc::EIO),
            )),
        }
    }

    fn fork(&self, mount_ns: &JobMountNs, order: &Order, mut fds: Vec<OwnedFd>) -> io::Result<i32> {
        let malformed = || io::Error::from_raw_os_error(libc::EBADMSG);
        let ready = fds.pop().ok_or_else(malformed)?;
        let (ends, rest) = protocol::parts(fds).ok_or_else(malformed)?;
        let with_fds = order.with(&rest).ok_or_else(malformed)?;
        let job = with_fds.job();
        let (sandbox, family) = (self.forker.sandbox, &self.guard.family);
        vet(sandbox, &job).map_err(|_| malformed())?;
        let inherited =
            self.forker
                .inherited(&self.host_mounts, mount_ns.ruleset(), Some(ready.as_fd()));
        let forked = with_child_env(sandbox, &job, family, &ends, Some(inherited), |child_env| {
            let child = || checklist::run(child_env);
            family
                .fork(ForkCall::Clone3, job.cgroup, child)
                .doing(|| "cannot fork a job".into())
        });
        let (pid, _pidfd) = forked
            .map_err(|error| io::Error::from_raw_os_error(error.errno().unwrap_or(libc::EINVAL)))?;
        Ok(pid)
    }

    fn answer(&self, answer: WorkerReply) -> io::Result<()> {
        sys::write(self.socket.as_fd(), &answer.to_bytes()).map(drop)
    }
}
