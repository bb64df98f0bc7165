//! The warden's half: asks the spawner, and waits a bounded time for each answer. A spawner that answers late, nothing or
//! nonsense is ended, and never asked again.

mod handles;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use remit_sys::{Closing, Doing, Error, Result, Switch, sys};

use crate::message::VERSION;
use crate::{Answer, Job, Kernel, Order, Reply, Request, Wanted, socket};
pub use handles::{PreforkedChild, Sandbox, SelfTest, Spawned, Watchdog};

/// Timeout for an answer. The spawner itself waits up to a second for a worker, a few times in the worst case.
pub const PATIENCE_S: i64 = 10;
/// Timeout for the first one.
const START_S: i64 = 60;

/// The process that forks jobs, as the warden sees it.
#[derive(Clone, Debug)]
pub struct Spawner(Rc<Process>);

#[derive(Debug)]
struct Process {
    pid: i32,
    pidfd: OwnedFd,
    socket: OwnedFd,
    closing: Closing,
    kernel: Kernel,
    /// Why it was killed: it gave no proper answer.
    over: RefCell<Option<String>>,
    /// Children that were reported gone and had not ended yet.
    late: RefCell<Vec<i32>>,
    lost: RefCell<Option<String>>,
}

impl Spawner {
    /// Takes over a process that was just started with the other end of `socket`. `closing` closes the output of jobs.
    /// The kernel's features are those that it finds.
    pub fn new(
        (pid, pidfd): (i32, OwnedFd),
        socket: OwnedFd,
        switch: &Switch,
        one_session: bool,
        closing: Closing,
    ) -> Result<Spawner> {
        let mut process = Process {
            pid,
            pidfd,
            socket,
            closing,
            kernel: Kernel::default(),
            over: RefCell::default(),
            late: RefCell::default(),
            lost: RefCell::default(),
        };
        let request = Request::Setup {
            version: VERSION,
            one_session,
        };
        let doing = || "cannot set up the socket of remit-spawner".to_owned();
        // At the boot of a busy machine its program is not in memory yet.
        socket::set_patience(&process.socket, START_S).doing(doing)?;
        match process.ask(&request, &[switch.as_fd()]) {
            Ok((Answer::Ready(kernel), [])) => process.kernel = kernel,
            Ok(_) => return Err(process.nonsense()),
            Err(error) => return Err(error),
        }
        socket::set_patience(&process.socket, PATIENCE_S).doing(doing)?;
        Ok(Spawner(Rc::new(process)))
    }

    pub fn kernel(&self) -> &Kernel {
        &self.0.kernel
    }

    pub fn pid(&self) -> i32 {
        self.0.pid
    }

    /// Readable when it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.0.pidfd.as_fd()
    }

    /// Returns why a worker was lost since the last call.
    pub fn loss(&self) -> Option<String> {
        self.0.lost.take()
    }

    /// Starts a watchdog as `id`, uid and gid.
    pub fn watch(&self, id: u32) -> Result<Watchdog> {
        match self.0.ask(&Request::Watch { id }, &[])? {
            (Answer::Watching { pid }, [pidfd]) => Ok(Watchdog { pid, pidfd }),
            _ => Err(self.0.nonsense()),
        }
    }

    /// Starts a worker for the jobs of `sandbox`, and waits some milliseconds until it is ready.
    pub fn warm(&self, sandbox: &Sandbox) -> Result<()> {
        let sandbox = sandbox.id;
        self.0.done(&Request::Warm { sandbox }, &[])
    }

    /// Ends the workers of all other sandboxes.
    pub fn keep_for<'a>(&self, sandboxes: impl Iterator<Item = &'a Sandbox>) -> Result<()> {
        let sandboxes = sandboxes.map(|sandbox| sandbox.id).collect();
        self.0.done(&Request::Keep { sandboxes }, &[])
    }

    /// Pre-forks a child for a job in `sandbox`, of this cgroup, uid and gid. `None`: no worker is ready for that.
    pub fn prepare(
        &self,
        sandbox: &Sandbox,
        cgroup: BorrowedFd<'_>,
        own: (u32, u32),
    ) -> Option<PreforkedChild> {
        let request = Request::Prepare {
            sandbox: sandbox.id,
            own,
        };
        match self.0.ask(&request, &[cgroup]).ok()? {
            (Answer::Prepared { child }, [socket]) => Some(PreforkedChild {
                child,
                sandbox: sandbox.id,
                socket,
                spawner: Some(Rc::clone(&self.0)),
            }),
            _ => {
                self.0.nonsense();
                None
            }
        }
    }

    /// Tells that no child waits any more, so that nothing of the host's is held.
    pub fn drop_preforked(&self) {
        let _ = self.0.done(&Request::DropPreforked, &[]);
    }

    /// Forks the job, or makes `waiting`, which was made for it, the job. Returns when the child exists, not when it
    /// executes: read `steps`.
    pub fn spawn(
        &self,
        sandbox: &Sandbox,
        job: &Job<'_>,
        waiting: Option<PreforkedChild>,
    ) -> Result<Spawned> {
        let request = Request::Spawn {
            sandbox: sandbox.id,
            child: waiting.map(PreforkedChild::into_number),
            order: Box::new(Order::new(job)),
        };
        let fds = Order::fds(job);
        match self.0.ask(&request, &fds)? {
            (Answer::Spawned { pid }, [pidfd, stdout, stderr, steps]) => Ok(Spawned {
                pid,
                pidfd,
                stdout: self.0.closing.guard(stdout),
                stderr: self.0.closing.guard(stderr),
                steps,
            }),
            _ => Err(self.0.nonsense()),
        }
    }

    /// Forks a self-test as `own`, which no job is meanwhile, in a cgroup of its own: kill that after the end.
    pub fn self_test(
        &self,
        sandbox: &Sandbox,
        cgroup: BorrowedFd<'_>,
        own: (u32, u32),
    ) -> Result<SelfTest> {
        let request = Request::SelfTest {
            sandbox: sandbox.id,
            own,
        };
        match self.0.ask(&request, &[cgroup])? {
            (Answer::Testing, [pipe]) => Ok(SelfTest { pipe }),
            _ => Err(self.0.nonsense()),
        }
    }

    /// Ends all workers. Waits up to `patience` for those that have not ended yet.
    pub fn end_workers(&self, patience: Duration) {
        let _ = self.0.done(&Request::EndWorkers, &[]);
        let deadline = Instant::now() + patience;
        self.0.late.borrow_mut().retain(|pid| {
            if let Ok(pidfd) = sys::pidfd_open(*pid) {
                wait(
                    pidfd.as_fd(),
                    deadline.saturating_duration_since(Instant::now()),
                );
            }
            sys::reap(*pid).is_none()
        });
    }

    /// Returns why it was killed, if it gave no proper answer.
    pub fn why_over(&self) -> Option<String> {
        self.0.over.borrow().clone()
    }
}

impl Compile for Spawner {
    fn compile(&self, wanted: Wanted) -> Result<Sandbox> {
        match self.0.ask(&Request::Compile(Box::new(wanted)), &[])? {
            (
                Answer::Compiled {
                    sandbox,
                    description,
                },
                [],
            ) => Ok(Sandbox {
                id: sandbox,
                description: *description,
                spawner: Some(Rc::clone(&self.0)),
            }),
            _ => Err(self.0.nonsense()),
        }
    }
}

/// Makes sandboxes of profiles.
pub trait Compile: std::fmt::Debug {
    fn compile(&self, wanted: Wanted) -> Result<Sandbox>;
}

impl Process {
    fn done(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<()> {
        match self.ask(request, fds)? {
            (Answer::Done, []) => Ok(()),
            _ => Err(self.nonsense()),
        }
    }

    /// Asks, and waits for the answer and its descriptors.
    fn ask<const N: usize>(
        &self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(Answer, [OwnedFd; N])> {
        if self.over.borrow().is_some() {
            return Err(Error::refused(ASKING, "it has ended"));
        }
        // Otherwise an answer could lose its descriptors, or itself: a long one is in a file.
        let reserved: io::Result<Vec<OwnedFd>> = (0..=N).map(|_| self.socket.try_clone()).collect();
        drop(reserved.doing(|| ASKING.to_owned())?);
        if let Err(error) = socket::send(self.socket.as_fd(), request, fds) {
            use io::ErrorKind::{BrokenPipe, ConnectionReset, WouldBlock};
            return match error.kind() {
                BrokenPipe | ConnectionReset | WouldBlock => Err(self.lose(error)),
                // Nothing was sent: there is not enough memory, for example.
                _ => Err(error).doing(|| ASKING.to_owned()),
            };
        }
        let (reply, fds) = match self.hear().or_else(|error| self.last_word(error)) {
            Ok(Some(heard)) => heard,
            Ok(None) => return Err(self.lose(io::ErrorKind::UnexpectedEof.into())),
            Err(error) => return Err(self.lose(error)),
        };
        self.reap(reply.gone);
        if reply.lost.is_some() {
            self.lost.replace(reply.lost);
        }
        let answer = reply.answer?;
        let fds = fds.try_into().map_err(|_| self.nonsense())?;
        Ok((answer, fds))
    }

    fn hear(&self) -> io::Result<Option<(Reply, Vec<OwnedFd>)>> {
        match socket::receive(self.socket.as_fd()) {
            // It died, and did not read all questions. The answers that it gave come after this.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                socket::receive(self.socket.as_fd())
            }
            heard => heard,
        }
    }

    /// Ends a process that does not answer in time, and returns the answer that it gave after all: only after its end is
    /// it known that no job began unheard.
    fn last_word(&self, error: io::Error) -> io::Result<Option<(Reply, Vec<OwnedFd>)>> {
        if error.kind() != io::ErrorKind::WouldBlock {
            return Err(error);
        }
        self.lose(error);
        wait(self.pidfd.as_fd(), Duration::from_secs(1));
        self.hear()
    }

    fn reap(&self, gone: Vec<i32>) {
        let mut late = self.late.borrow_mut();
        late.extend(gone);
        late.retain(|pid| sys::reap(*pid).is_none());
    }

    fn nonsense(&self) -> Error {
        self.lose(io::ErrorKind::InvalidData.into())
    }

    /// Kills it: after a wrong answer, the next one would be taken for another question's.
    fn lose(&self, error: io::Error) -> Error {
        let why = match error.kind() {
            io::ErrorKind::WouldBlock => format!("no answer within {PATIENCE_S} s"),
            io::ErrorKind::InvalidData => "an answer that means nothing".to_owned(),
            _ => error.to_string(),
        };
        self.over.borrow_mut().get_or_insert_with(|| why.clone());
        let _ = sys::pidfd_send_signal(&self.pidfd, libc::SIGKILL);
        Error::refused(ASKING, why)
    }
}

const ASKING: &str = "cannot ask remit-spawner";

impl Drop for Process {
    /// Without its socket it ends its workers and itself.
    fn drop(&mut self) {
        let _ = sys::pidfd_send_signal(&self.pidfd, libc::SIGKILL);
        wait(self.pidfd.as_fd(), Duration::from_millis(100));
        let _ = sys::reap(self.pid);
    }
}

/// Waits for the end of a process.
fn wait(pidfd: BorrowedFd<'_>, patience: Duration) {
    let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
    let _ = poll(&mut [PollFd::new(pidfd, PollFlags::POLLIN)], patience);
}
