//! Asks the spawner, with a timeout. One that answers late or wrong is ended.

mod handles;
#[cfg(test)]
mod tests;
mod workers;

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use remit_spawn::{Answer, Child, Job, Kernel, Reply, Request, VERSION, Wanted, socket};
use remit_sys::{Closing, Doing, Error, Result, Switch, sys};

use self::workers::{WorkerSockets, has_ended};
pub use handles::{OrderedJob, PreforkedChild, Sandbox, SelfTest, Spawned, Watchdog};

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
    patience: Duration,
    /// Why it was killed: it gave no proper answer.
    over: RefCell<Option<String>>,
    late: RefCell<Vec<i32>>,
    lost: RefCell<Option<String>>,
    workers: WorkerSockets,
}

impl Spawner {
    /// Makes its socket: the warden's end, and the spawner's.
    pub fn socket() -> io::Result<(OwnedFd, OwnedFd)> {
        socket::patient_pair()
    }

    /// Takes over a process that was started with the other end of `socket`. `closing` closes the output of jobs.
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
            late: RefCell::default(),
            lost: RefCell::default(),
            workers: WorkerSockets::default(),
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

    /// Readable when it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.0.pidfd.as_fd()
    }

    pub fn loss(&self) -> Option<String> {
        self.0.lost.take()
    }

    pub fn watch(&self, id: u32) -> Result<Watchdog> {
        match self.0.ask(&Request::Watch { id }, &[])? {
            (Answer::Watching { pid }, [pidfd]) => Ok(Watchdog { pid, pidfd }),
            _ => Err(self.0.nonsense()),
        }
    }

    pub fn warm(&self, sandbox: &Sandbox) -> Result<()> {
        let sandbox = sandbox.id;
        self.0.done(&Request::Warm { sandbox }, &[])
    }

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
        Child::ask(self.0.clone(), sandbox.id, own, None, Some(cgroup), None).ok()
    }

    /// Gives the job to `waiting`, if that was made for it and the job has no staged files. `None`: it has no child.
    pub fn order(
        &self,
        sandbox: &Sandbox,
        job: &Job<'_>,
        waiting: Option<PreforkedChild>,
    ) -> Result<Option<OrderedJob>> {
        self.check(sandbox, job)?;
        let waiting = waiting.filter(|child| sandbox.is_served_by(child) && job.staged.is_none());
        Ok(waiting.and_then(|child| child.order(job).ok()))
    }

    fn check(&self, sandbox: &Sandbox, job: &Job<'_>) -> Result<()> {
        job.vet(sandbox.description.needs_cgroup)?;
        // A spawner that errs may err about a child, too.
        match *self.0.over.borrow() {
            Some(_) => Err(Error::refused(ASKING, ENDED)),
            None => Ok(()),
        }
    }

    /// Returns the job of the child that has it; or, if that will never start, of a new one. Returns when the child
    /// exists, not when it executes: read `steps`. If a worker is lost on the way, another one is tried once.
    pub fn spawn(
        &self,
        sandbox: &Sandbox,
        job: &Job<'_>,
        ordered: Option<OrderedJob>,
    ) -> Result<Spawned> {
        let size = Some((job.limits.tmp_bytes, job.limits.tmp_inodes));
        let fork = || {
            Child::ask(
                self.0.clone(),
                sandbox.id,
                (job.uid, job.gid),
                size,
                job.cgroup,
                job.staged,
            )?
            .begin(job)
        };
        let started = match ordered.map(OrderedJob::started) {
            Some(Ok(started)) => started,
            Some(Err(_)) | None => {
                self.check(sandbox, job)?;
                fork().or_else(|_| fork())?
            }
        };
        Ok(Spawned {
            pid: started.pid,
            pidfd: started.pidfd,
            stdout: self.0.closing.guard(started.stdout),
            stderr: self.0.closing.guard(started.stderr),
            steps: started.steps,
            reports: started.reports,
            mount_ns: started.mount_ns.map(|fd| self.0.closing.guard(fd)),
            closing: self.0.closing.clone(),
        })
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
        self.0.forget_workers();
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
        use io::ErrorKind::WouldBlock;
        if self.over.borrow().is_some() {
            return Err(Error::refused(ASKING, ENDED));
        }
        match socket::send(self.socket.as_fd(), request, fds) {
            // Its queue is full, and it did not read for so long.
            Err(error) if error.kind() == WouldBlock => Err(self.lose_slow()),
            Err(error) if has_ended(&error) => Err(self.lose(ENDED.to_owned())),
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

    /// Ends a late process, and returns a late answer: only then is it known that no job began unheard.
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
        self.forget_workers();
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

fn wait(pidfd: BorrowedFd<'_>, patience: Duration) {
    let _ = poll(&mut [readable(pidfd)], timeout(patience));
}

fn readable(fd: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::new(fd, PollFlags::POLLIN)
}

fn timeout(patience: Duration) -> PollTimeout {
    PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX)
}
