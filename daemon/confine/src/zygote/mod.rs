//! A small process that forks the jobs of one sandbox for the warden.
//!
//! It is the warden's own program executed anew, so that it holds nothing of the warden's memory and its
//! forks have little to copy. It stands behind the half of the system call filter that costs most, and makes
//! for each job a mount namespace that no job has had yet (`room`), where it can be with a child in it that
//! waits for the job (`early`). For `strict` jobs it is a monitor with an init in all namespaces, and a child of that
//! which waits in the job's own root (`apart`). A child needs only what is its own: identity, limits, Landlock
//! domain, the rest of the filter. Children are the warden's (`CLONE_PARENT`): it alone reaps them.
//!
//! Nothing of a job comes back to the zygote, and nothing of one is left in it for the next but freed
//! memory, which an exec takes away. It is root, reads the warden's messages and nobody else's. When the
//! warden dies it ends all jobs, as the keeper does, and then itself.

mod apart;
mod early;
mod end;
mod forker;
mod order;
mod pool;
mod room;
mod serve;
mod waiting;

pub(crate) use apart::Apart;
pub(crate) use forker::Forker;
pub use pool::Zygotes;
pub(crate) use room::House;
pub use serve::{asked_for, serve};
pub use waiting::Waiting;

use crate::error::{Doing, Error, Result};
use crate::floor::{self, Pointers};
use crate::recipe::Recipe;
use crate::sandbox::Base;
use crate::spawn::{pipes, vet};
use crate::{Job, Sandbox, Spawned, Switch, kernel};
use end::{end, reap_untold, watched};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::{MsgFlags, recv};
use nix::unistd::pipe2;
use order::{Answer, Order, Request, Setup};
use std::{
    cell::Cell,
    ffi::CStr,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    rc::Rc,
};

/// What the process is called. By this first argument the program knows what it was executed for.
pub(crate) const NAME: &CStr = c"remit-zygote";
/// Where it finds its end of the socket.
const SOCKET: RawFd = 3;
/// Exit status of a child that got no job, or none that it understood.
const NO_JOB: i32 = 127;
/// How long an answer may take, in seconds: a fork takes a tenth of a millisecond.
const PATIENCE_S: i64 = 1;

/// One, as the warden has it. It is killed and reaped when this is dropped; what it has forked and waits is not.
#[derive(Debug)]
pub(crate) struct Zygote {
    process: Rc<Process>,
    ready: Cell<bool>,
}

/// The process that it is.
#[derive(Debug)]
struct Process {
    recipe: Recipe,
    pid: i32,
    pidfd: OwnedFd,
    socket: OwnedFd,
    /// It was killed and reaped: its pid may be another's by now.
    ended: Cell<bool>,
}

impl Process {
    /// Whether it forks jobs of this sandbox.
    fn serves(&self, sandbox: &Sandbox) -> bool {
        sandbox.recipe.as_ref() == Some(&self.recipe)
    }

    fn end(&self) {
        if !self.ended.replace(true) {
            end(self.pid, self.pidfd.as_fd());
        }
    }
}

/// Why there is no job from a zygote. But for the last, nothing ran.
pub(crate) enum Failed {
    /// It could not, and may next time.
    Fork,
    /// It is gone, or talks nonsense: of no use any more.
    Gone(io::Error),
    /// It did fork, and the job was killed: it may have begun, so it must not be forked again.
    Killed(Error),
}

impl Zygote {
    /// Executes `program` as a zygote for the jobs of the sandbox of this recipe. It says by itself when it is ready.
    pub(crate) fn start(
        program: BorrowedFd<'_>,
        switch: &Switch,
        recipe: &Recipe,
    ) -> Result<Zygote> {
        let doing = || "cannot start a zygote".into();
        let (ours, theirs) = order::pair(PATIENCE_S).doing(doing)?;
        let warden = floor::pidfd_open(std::process::id() as i32).doing(doing)?;
        let argv = [NAME.to_owned()];
        let (argv, env) = (Pointers::of(&argv), Pointers::of(&[]));
        let child = || {
            let error = match place(theirs.as_fd(), program, warden.as_fd()) {
                Ok(program) => floor::execve_open(program, &argv, &env),
                Err(error) => error,
            };
            let text = format!("cannot execute a zygote: {error}\n");
            let _ = floor::write(floor::placed(2), text.as_bytes());
            127
        };
        let (pid, pidfd) = floor::fork(kernel::fork_call()?, None, child).doing(doing)?;
        let process = Process {
            recipe: recipe.clone(),
            pid,
            pidfd,
            socket: ours,
            ended: Cell::new(false),
        };
        let zygote = Zygote {
            process: Rc::new(process),
            ready: Cell::new(false),
        };
        let setup = Setup::of(recipe);
        order::send(zygote.socket(), &setup, &[warden.as_fd(), switch.as_fd()]).doing(doing)?;
        Ok(zygote)
    }

    /// Whether it forks jobs of this sandbox.
    pub(crate) fn serves(&self, sandbox: &Sandbox) -> bool {
        self.process.serves(sandbox)
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.process.socket.as_fd()
    }

    /// Whether it can be asked now. Does not wait.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn is_ready(&self) -> io::Result<bool> {
        if self.process.ended.get() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        match self.hear_ready(MsgFlags::MSG_DONTWAIT) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
            heard => heard.map(|()| true),
        }
    }

    /// Waits until it can be asked.
    pub(crate) fn wait_ready(&self) -> io::Result<()> {
        self.hear_ready(MsgFlags::empty())
    }

    fn hear_ready(&self, flags: MsgFlags) -> io::Result<()> {
        if !self.ready.get() {
            match self.answer(flags)? {
                Answer::Ready => self.ready.set(true),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Ok(())
    }

    /// Forks a job. `None`: it is not one that is forked when it comes.
    pub(crate) fn spawn(
        &self,
        sandbox: &Sandbox,
        job: &Job<'_>,
    ) -> Option<std::result::Result<Spawned, Failed>> {
        // Its jobs have namespaces of their own: they are forked ahead or not at all.
        if matches!(sandbox.base, Base::Strict(_)) {
            return None;
        }
        if vet(sandbox, job).is_err() {
            return Some(Err(Failed::Fork));
        }
        let order = Order::of(sandbox, job)?;
        Some(self.ask(sandbox, job, order))
    }

    /// Has a child forked ahead, into the cgroup of the job that it will be, of that uid and gid. Does not wait for it.
    pub(crate) fn prepare(
        &self,
        cgroup: Option<BorrowedFd<'_>>,
        own: (u32, u32),
    ) -> Option<Waiting> {
        let asked = Waiting::ask(&self.process, cgroup, own);
        // That one whose jobs are all forked ahead has died is learned here or never.
        asked.inspect_err(|error| self.lost(error)).ok()
    }

    /// Says that nothing waits any more: it then holds nothing of the host's.
    pub(crate) fn dismissed(&self) {
        if let Err(error) = order::send(self.socket(), &Request::Dismissed, &[]) {
            self.lost(&error);
        }
    }

    fn lost(&self, error: &io::Error) {
        // The second is told first where it died with requests unread.
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
    ) -> std::result::Result<Spawned, Failed> {
        let (pipes, ends) = pipes(sandbox, job).map_err(|_| Failed::Fork)?;
        // The child goes on when there is a byte in it, whatever has become of the zygote, and ends with its end.
        let (ready, go) = pipe2(OFlag::O_CLOEXEC).map_err(|_| Failed::Fork)?;
        let mut fds = order::beside(&ends, job);
        fds.push(ready.as_fd());
        order::send(self.socket(), &Request::Fork(Box::new(order)), &fds).map_err(Failed::Gone)?;
        let answer = self.answer(MsgFlags::empty());
        let answer = answer.or_else(|why| self.last_word().map_err(|_| why));
        drop(ends);
        match answer {
            Ok(Answer::Forked(pid)) => match watched(pid) {
                Ok(pidfd) => {
                    // One that was killed reads it no more, but `ready` is open here, too.
                    let _ = floor::write(go.as_fd(), &[1]);
                    Ok(pipes.of(pid, pidfd))
                }
                Err(source) => {
                    let doing = "cannot watch a job, which was killed".into();
                    Err(Failed::Killed(Error::Call { doing, source }))
                }
            },
            Ok(Answer::Failed(_)) => Err(Failed::Fork),
            other => {
                self.process.end();
                drop(go);
                reap_untold(pipes.steps());
                let nonsense = || io::ErrorKind::InvalidData.into();
                Err(Failed::Gone(other.err().unwrap_or_else(nonsense)))
            }
        }
    }

    /// Ends it, and looks only then whether it has answered after all. A child that it has told of becomes the
    /// job; one that it has not told of never will.
    fn last_word(&self) -> io::Result<Answer> {
        self.process.end();
        self.answer(MsgFlags::MSG_DONTWAIT)
    }

    fn answer(&self, flags: MsgFlags) -> io::Result<Answer> {
        let mut bytes = [0; order::ANSWER];
        let length = loop {
            match recv(self.socket().as_raw_fd(), &mut bytes, flags) {
                // Somebody has stopped and continued this process: with a timeout set that ends a wait
                // that is not over (signal(7)).
                Err(Errno::EINTR) => {}
                other => break other?,
            }
        };
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Answer::from_bytes(bytes.get(..length).unwrap_or_default())
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

impl Drop for Zygote {
    /// A child that it has forked and not told of reads the end of its pipe, and ends.
    fn drop(&mut self) {
        self.process.end();
    }
}

/// What the child does before its exec. Only for a process of one thread: nothing here is kept from
/// allocating.
fn place<'a>(
    socket: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    warden: BorrowedFd<'_>,
) -> io::Result<BorrowedFd<'a>> {
    floor::new_session()?;
    floor::default_signals()?;
    let socket = floor::copy_above(socket, 16)?;
    let program = floor::copy_above(program, 16)?;
    let warden = floor::copy_above(warden, 16)?;
    // Closed by its owner, before all others are.
    {
        let null = floor::open(c"/dev/null", libc::O_RDWR)?;
        floor::place(floor::copy_above(null.as_fd(), 16)?, 0)?;
    }
    floor::place(floor::placed(0), 1)?;
    floor::place(socket, SOCKET)?;
    floor::place_closing(program, SOCKET + 1)?;
    floor::place_closing(warden, SOCKET + 2)?;
    floor::close_from(SOCKET + 3)?;
    if !floor::pidfd_alive(floor::placed(SOCKET + 2))? {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(floor::placed(SOCKET + 1))
}
