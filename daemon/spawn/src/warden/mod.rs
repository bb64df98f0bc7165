//! The warden's half: asks the spawner, and waits a bounded time for each answer. A spawner that answers late, nothing or
//! nonsense is ended, and never asked again.

mod handles;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use remit_sys::{Closing, Doing, Error, Result, Switch, sys};

use crate::message::VERSION;
use crate::{Answer, Job, Kernel, Order, Reply, Request, Wanted, socket};
pub use handles::{PreforkedChild, Sandbox, SelfTest, Spawned, Watchdog};

/// Timeout for an answer. The spawner itself waits up to a second for a worker, a few times in the worst case.
const PATIENCE: Duration = Duration::from_secs(10);
/// Timeout for the first one: at the boot of a busy machine its program is not in memory yet.
const START: Duration = Duration::from_secs(60);
/// Timeout for the end of a killed process.
const ENDING: Duration = Duration::from_secs(1);

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
    /// Timeout for an answer.
    patience: Duration,
    /// Why it was killed: it gave no proper answer.
    over: RefCell<Option<String>>,
    last_child: Cell<u64>,
    /// Children that were reported gone and had not ended yet.
    late: RefCell<Vec<i32>>,
    lost: RefCell<Option<String>>,
}

impl Spawner {
    /// Makes its socket: the warden's end, and the spawner's.
    pub fn socket() -> io::Result<(OwnedFd, OwnedFd)> {
        socket::patient_pair()
    }

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
            patience: Duration::ZERO,
            over: RefCell::default(),
            last_child: Cell::default(),
            late: RefCell::default(),
            lost: RefCell::default(),
        };
        process.set_patience(START)?;
        let request = Request::Setup {
            version: VERSION,
            one_session,
        };
        match process.ask(&request, &[switch.as_fd()]) {
            Ok((Answer::Ready(kernel), [])) => process.kernel = kernel,
            Ok(_) => return Err(process.nonsense()),
            Err(error) => return Err(error),
        }
        process.set_patience(PATIENCE)?;
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

    /// Requests a child for a job in `sandbox`, of this cgroup, uid and gid. Its socket hangs up if there will be none.
    pub fn prepare(
        &self,
        sandbox: &Sandbox,
        cgroup: BorrowedFd<'_>,
        own: (u32, u32),
    ) -> Option<PreforkedChild> {
        let (socket, its) = socket::patient_pair().ok()?;
        let child = self.0.last_child.get() + 1;
        self.0.last_child.set(child);
        let request = Request::Prepare {
            sandbox: sandbox.id,
            child,
            own,
        };
        let fds = [cgroup, socket.as_fd(), its.as_fd()];
        self.0.send(&request, &fds).ok()?;
        Some(PreforkedChild {
            child,
            sandbox: sandbox.id,
            socket,
            spawner: Some(Rc::clone(&self.0)),
        })
    }

    /// Forks the job, or makes `waiting`, which was made for it, the job. Returns when the child exists, not when it
    /// executes: read `steps`.
    pub fn spawn(
        &self,
        sandbox: &Sandbox,
        job: &Job<'_>,
        mut waiting: Option<PreforkedChild>,
    ) -> Result<Spawned> {
        let request = Request::Spawn {
            sandbox: sandbox.id,
            child: waiting.as_mut().map(PreforkedChild::take_number),
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
            is_unreaped(*pid)
        });
    }

    /// Gives this socket the listeners of later workers, and ends those that there are.
    pub fn use_bus(&self, socket: BorrowedFd<'_>) -> Result<()> {
        self.0.done(&Request::UseBus, &[socket])
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
    fn set_patience(&mut self, patience: Duration) -> Result<()> {
        self.patience = patience;
        let set = socket::set_patience(&self.socket, patience.as_secs().cast_signed());
        set.doing(|| ASKING.to_owned())
    }

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
        // Otherwise an answer could lose its descriptors, or itself: a long one is in a file.
        let reserved: io::Result<Vec<OwnedFd>> = (0..=N).map(|_| self.socket.try_clone()).collect();
        drop(reserved.doing(|| ASKING.to_owned())?);
        self.send(request, fds)?;
        let heard = self.hear(self.patience);
        let (reply, fds) = match heard.or_else(|error| self.last_word(error)) {
            Ok(Some(heard)) => heard,
            Ok(None) => return Err(self.lose(ENDED.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(self.nonsense()),
            Err(error) => return Err(self.lose(error.to_string())),
        };
        self.reap(reply.gone);
        if reply.lost.is_some() {
            self.lost.replace(reply.lost);
        }
        let answer = reply.answer?;
        let fds = fds.try_into().map_err(|_| self.nonsense())?;
        Ok((answer, fds))
    }

    fn send(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<()> {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, WouldBlock};
        if self.over.borrow().is_some() {
            return Err(Error::refused(ASKING, ENDED));
        }
        match socket::send(self.socket.as_fd(), request, fds) {
            // Its queue is full, and it did not read for so long.
            Err(error) if error.kind() == WouldBlock => Err(self.lose_slow()),
            Err(error) if matches!(error.kind(), BrokenPipe | ConnectionReset) => {
                Err(self.lose(ENDED.to_owned()))
            }
            // Nothing was sent: there is not enough memory, for example.
            sent => sent.doing(|| ASKING.to_owned()),
        }
    }

    /// Waits for an answer, or its end. The end of its socket says less: for a while children have copies of it.
    fn hear(&self, patience: Duration) -> io::Result<Option<(Reply, Vec<OwnedFd>)>> {
        let deadline = Instant::now() + patience;
        let mut ready = [self.socket.as_fd(), self.pidfd.as_fd()].map(readable);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match poll(&mut ready, timeout(left)) {
                Ok(0) => return Err(io::ErrorKind::WouldBlock.into()),
                Ok(_) => break,
                // This process was stopped and continued. signal(7).
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        // What it said before its end counts, so the socket is asked after that.
        let [has_answer, _] = ready.map(|fd| fd.any() == Some(true));
        if !has_answer && poll(&mut [readable(self.socket.as_fd())], PollTimeout::ZERO)? == 0 {
            return Ok(None);
        }
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
        self.lose_slow();
        self.hear(ENDING)
    }

    fn reap(&self, gone: Vec<i32>) {
        let mut late = self.late.borrow_mut();
        late.extend(gone);
        late.retain(|pid| is_unreaped(*pid));
    }

    fn nonsense(&self) -> Error {
        self.lose("an answer that means nothing".to_owned())
    }

    fn lose_slow(&self) -> Error {
        self.lose(format!("no answer within {} s", self.patience.as_secs()))
    }

    /// Kills it: after a wrong answer, the next one would be taken for another question's.
    fn lose(&self, why: String) -> Error {
        // The first reason is the one that it was killed for.
        let why = self.over.borrow_mut().get_or_insert(why).clone();
        let _ = sys::pidfd_send_signal(&self.pidfd, libc::SIGKILL);
        Error::refused(ASKING, why)
    }
}

const ASKING: &str = "cannot ask remit-spawner";
const ENDED: &str = "it has ended";

impl Drop for Process {
    /// Without its socket it ends its workers and itself.
    fn drop(&mut self) {
        let _ = sys::pidfd_send_signal(&self.pidfd, libc::SIGKILL);
        wait(self.pidfd.as_fd(), Duration::from_millis(100));
        let _ = sys::reap(self.pid);
    }
}

/// Reaps a child if it has ended. Returns false for a number that is no child's: somebody else's child may get it later.
fn is_unreaped(pid: i32) -> bool {
    matches!(sys::wait(pid, libc::WNOHANG), Ok(None))
}

/// Waits for the end of a process.
fn wait(pidfd: BorrowedFd<'_>, patience: Duration) {
    let _ = poll(&mut [readable(pidfd)], timeout(patience));
}

fn readable(fd: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::new(fd, PollFlags::POLLIN)
}

fn timeout(patience: Duration) -> PollTimeout {
    PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX)
}
