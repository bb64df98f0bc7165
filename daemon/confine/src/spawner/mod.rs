//! The worker: a small process that forks the jobs of one sandbox for the spawner.
//!
//! It is the spawner's own program, executed again: so it holds none of the spawner's memory, and a fork has little to
//! copy. It has the half of the filter that costs most. For each job it makes an unused mount namespace (`mount_ns`), if
//! possible with a pre-forked child in it (`early`). For `strict` jobs that is a monitor with an init in all
//! namespaces, and a child of it that waits in the job's own root (`preforked_strict`). A child needs only what is its own:
//! identity, limits, Landlock domain, the rest of the filter. Children are the warden's (`CLONE_PARENT`): only the
//! warden reaps them.
//!
//! Nothing of a job returns to the worker. A job leaves only freed memory for the next one, and an exec discards that.
//! The worker is root, and reads only the spawner's messages. When the warden dies, it ends all jobs, as the watchdog
//! does, and then itself.

pub(crate) mod direct;
pub(crate) mod family;
pub(crate) mod mount_ns;
mod pool;
pub(crate) mod preforked;
pub(crate) mod protocol;
pub(crate) mod shutdown;
pub(crate) mod template_process;
mod waiting;
pub(crate) mod worker;

pub(crate) use crate::spawner::mount_ns::HostMounts;
pub(crate) use crate::spawner::preforked::PreforkedStrict;
pub(crate) use crate::spawner::template_process::Forker;
pub use crate::spawner::worker::{is_worker, serve};
pub use pool::Workers;
pub use waiting::PreforkedChild;

use crate::spawner::direct::{Gate, pipes, vet};
pub use crate::spawner::family::Family;
use crate::spawner::protocol::{Request, Setup, WorkerReply};
pub use crate::spawner::shutdown::gone;
use crate::spawner::shutdown::{end, leave_unreported, watched};
use crate::spec::compiled::Base;
use crate::spec::recipe::Recipe;
use crate::sys::{self, Pointers};
use crate::{Held, Job, Sandbox};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::{MsgFlags, recv};
use nix::unistd::pipe2;
use remit_spawn::Order;
use remit_sys::{Doing, Error, Result, fork_call};
use std::{
    cell::Cell,
    ffi::CStr,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    rc::Rc,
};

/// Name of the process. By this first argument the program knows that it is a worker.
pub(crate) const NAME: &CStr = c"remit-zygote";
const SOCKET: RawFd = 3;
const NO_JOB: i32 = 127;
/// Exit status of a child that got no job because a mount of the host changed while its root was built.
pub(crate) const MOUNTS_CHANGED: i32 = 126;
/// Timeout for an answer, in seconds: a fork takes a tenth of a millisecond.
const PATIENCE_S: i64 = 1;

/// A worker, as the spawner sees it. Dropping it kills it, but not its pre-forked children.
#[derive(Debug)]
pub(crate) struct WorkerHandle {
    process: Rc<Process>,
    ready: Cell<bool>,
}

#[derive(Debug)]
struct Process {
    recipe: Recipe,
    pid: i32,
    pidfd: OwnedFd,
    socket: OwnedFd,
    ended: Cell<bool>,
}

impl Process {
    fn serves(&self, sandbox: &Sandbox) -> bool {
        sandbox.recipe.as_ref() == Some(&self.recipe)
    }

    fn end(&self) {
        if !self.ended.replace(true) {
            end(self.pid, self.pidfd.as_fd());
        }
    }
}

/// Why there is no job from a worker. Only after `Killed` something may have run.
pub(crate) enum Failed {
    Fork,
    /// It is gone, or its answers are invalid: no longer usable.
    Gone(io::Error),
    /// It did fork, and the job was killed. The job may have begun, so it must not be forked again.
    Killed(Error),
}

impl WorkerHandle {
    pub(crate) fn start(
        program: BorrowedFd<'_>,
        family: &Family,
        switch: BorrowedFd<'_>,
        recipe: &Recipe,
    ) -> Result<WorkerHandle> {
        let doing = || "cannot start a worker".into();
        let (own_end, worker_end) = protocol::pair(PATIENCE_S).doing(doing)?;
        let warden = family.pidfd();
        let argv = [NAME.to_owned()];
        let (argv, env) = (Pointers::new(&argv), Pointers::new(&[]));
        let child = || {
            let error = match renumber(worker_end.as_fd(), program, warden) {
                Ok(program) => sys::execve_open(program, &argv, &env),
                Err(error) => error,
            };
            let text = format!("cannot execute a worker: {error}\n");
            let _ = sys::write(sys::borrowed(2), text.as_bytes());
            127
        };
        let (pid, pidfd) = family.fork(fork_call()?, None, child).doing(doing)?;
        let process = Process {
            recipe: recipe.clone(),
            pid,
            pidfd,
            socket: own_end,
            ended: Cell::new(false),
        };
        let worker = WorkerHandle {
            process: Rc::new(process),
            ready: Cell::new(false),
        };
        let setup = Setup::new(recipe);
        protocol::send(worker.socket(), &setup, &[warden, switch]).doing(doing)?;
        Ok(worker)
    }

    pub(crate) fn serves(&self, sandbox: &Sandbox) -> bool {
        self.process.serves(sandbox)
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.process.socket.as_fd()
    }

    /// Returns true if it accepts requests now; fails if it has ended. Does not wait.
    pub(crate) fn is_ready(&self) -> io::Result<bool> {
        if self.process.ended.get() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        match self.hear_ready(MsgFlags::MSG_DONTWAIT) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
            heard => heard.map(|()| true),
        }
    }

    pub(crate) fn wait_ready(&self) -> io::Result<()> {
        self.hear_ready(MsgFlags::empty())
    }

    fn hear_ready(&self, flags: MsgFlags) -> io::Result<()> {
        if !self.ready.get() {
            match self.answer(flags)? {
                WorkerReply::Ready => self.ready.set(true),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Ok(())
    }

    pub(crate) fn spawn(
        &self,
        sandbox: &Sandbox,
        job: &Job<'_>,
    ) -> Option<std::result::Result<Held, Failed>> {
        // Its jobs have their own namespaces: they are pre-forked or not forked at all.
        if matches!(sandbox.base, Base::Strict(_)) {
            return None;
        }
        if vet(sandbox, job).is_err() {
            return Some(Err(Failed::Fork));
        }
        let order = protocol::plain(sandbox, job)?;
        Some(self.ask(sandbox, job, order))
    }

    /// Requests a pre-forked child for a job's cgroup, uid and gid. Does not wait for it.
    pub(crate) fn prepare(
        &self,
        cgroup: Option<BorrowedFd<'_>>,
        own: (u32, u32),
    ) -> Option<PreforkedChild> {
        let asked = PreforkedChild::ask(&self.process, cgroup, own);
        // The death of a worker whose jobs are all pre-forked is noticed here or never.
        asked.inspect_err(|error| self.lost(error)).ok()
    }

    pub(crate) fn drop_preforked(&self) {
        if let Err(error) = protocol::send(self.socket(), &Request::DropPreforked, &[]) {
            self.lost(&error);
        }
    }

    fn lost(&self, error: &io::Error) {
        // ECONNRESET comes first if it died with unread requests.
        let gone = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
        if gone.contains(&error.kind()) {
            self.process.end();
        }
    }

    fn ask(
        &self,
        sandbox: &Sandbox,
        job: &Job<'_>,
        order: Order,
    ) -> std::result::Result<Held, Failed> {
        let (pipes, ends) = pipes(sandbox, job).map_err(|_| Failed::Fork)?;
        // The child continues after a byte in it, whatever has become of the worker, and exits at its end.
        let (ready, go) = pipe2(OFlag::O_CLOEXEC).map_err(|_| Failed::Fork)?;
        let mut fds = protocol::beside(&ends, job);
        fds.push(ready.as_fd());
        protocol::send(self.socket(), &Request::Fork(Box::new(order)), &fds)
            .map_err(Failed::Gone)?;
        let answer = self.answer(MsgFlags::empty());
        let answer = answer.or_else(|why| self.last_word().map_err(|_| why));
        // Before the child continues, so before anyone can hold the locks of these pipes.
        drop(ends);
        match answer {
            Ok(WorkerReply::Forked(pid)) => match watched(pid) {
                Ok(pidfd) => Ok(pipes.held(pid, pidfd, Gate::Pipe { ready, go })),
                Err(source) => {
                    let doing = "cannot watch a job, which was killed".into();
                    Err(Failed::Killed(Error::Call { doing, source }))
                }
            },
            Ok(WorkerReply::Failed(_)) => Err(Failed::Fork),
            other => {
                self.process.end();
                drop(go);
                leave_unreported(pipes.steps());
                let nonsense = || io::ErrorKind::InvalidData.into();
                Err(Failed::Gone(other.err().unwrap_or_else(nonsense)))
            }
        }
    }

    /// Ends the worker, and only then checks if it has answered after all. A child that it has reported becomes the
    /// job; one that it has not reported never will.
    fn last_word(&self) -> io::Result<WorkerReply> {
        self.process.end();
        self.answer(MsgFlags::MSG_DONTWAIT)
    }

    fn answer(&self, flags: MsgFlags) -> io::Result<WorkerReply> {
        let mut bytes = [0; protocol::ANSWER];
        let length = loop {
            match recv(self.socket().as_raw_fd(), &mut bytes, flags) {
                // This process was stopped and continued: with a timeout set that interrupts the wait (signal(7)).
                Err(Errno::EINTR) => {}
                other => break other?,
            }
        };
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        WorkerReply::from_bytes(bytes.get(..length).unwrap_or_default())
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        self.process.end();
    }
}

/// Prepares the child for its exec. Only for a process of one thread, because it may allocate.
fn renumber<'a>(
    socket: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    warden: BorrowedFd<'_>,
) -> io::Result<BorrowedFd<'a>> {
    sys::new_session()?;
    sys::default_signals()?;
    let socket = sys::copy_above(socket, 16)?;
    let program = sys::copy_above(program, 16)?;
    let warden = sys::copy_above(warden, 16)?;
    // Its owner closes it, before all others are closed.
    {
        let null = sys::open(c"/dev/null", libc::O_RDWR)?;
        sys::renumber(sys::copy_above(null.as_fd(), 16)?, 0)?;
    }
    sys::renumber(sys::borrowed(0), 1)?;
    sys::renumber(socket, SOCKET)?;
    sys::renumber_cloexec(program, SOCKET + 1)?;
    sys::renumber_cloexec(warden, SOCKET + 2)?;
    sys::close_from(SOCKET + 3)?;
    if !sys::pidfd_alive(sys::borrowed(SOCKET + 2))? {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(sys::borrowed(SOCKET + 1))
}
