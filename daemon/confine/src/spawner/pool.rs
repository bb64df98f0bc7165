//! The workers of a spawner. Every job comes from one of them: without a worker nothing runs.

use super::Process;
use super::host::HostTree;
use super::protocol;
use super::waiting::{Child, Held, PreforkedChild};
use crate::spawner::Family;
use crate::steps::child_env::vet;
use crate::steps::prepare::private_size;
use crate::sys;
use crate::{Job, Result, Sandbox};
use remit_sys::Doing;
use std::{
    cell::RefCell,
    ffi::CStr,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    rc::Rc,
};

/// One for each profile in use, up to this many; then the one that was used last of all is ended.
const MOST: usize = 4;

#[derive(Debug)]
pub struct Workers {
    /// The program that a worker executes, whatever becomes of its file.
    program: OwnedFd,
    host: HostTree,
    family: Family,
    /// Those used last are at the end.
    all: RefCell<Vec<PooledWorker>>,
    why: RefCell<Option<io::Error>>,
    bus: RefCell<Option<Rc<OwnedFd>>>,
}

/// Dropping it kills the worker, but not its waiting children.
#[derive(Debug)]
struct PooledWorker(Rc<Process>);

impl Drop for PooledWorker {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Workers {
    /// Makes workers of a program whose `main` begins with [`is_worker`](super::is_worker): mostly `/proc/self/exe`.
    pub fn new(program: &CStr, family: Family) -> Result<Workers> {
        let doing = || "cannot prepare workers".to_owned();
        Ok(Workers {
            program: sys::open(program, libc::O_PATH).doing(doing)?,
            host: HostTree::here().doing(doing)?,
            family,
            all: RefCell::default(),
            why: RefCell::default(),
            bus: RefCell::default(),
        })
    }

    /// Starts a worker for the jobs of `sandbox`, and waits some milliseconds until it is ready.
    pub fn warm(&self, sandbox: &Sandbox, switch: BorrowedFd<'_>) -> Result<()> {
        self.ready(sandbox, switch).map(drop)
    }

    /// Makes `waiting`, which was made for this job, the job; or, if it cannot be, a new child. Returns when the child
    /// exists and waits until it may go on. If a worker is lost on the way, another one is tried once.
    pub fn spawn(
        &self,
        sandbox: &Sandbox,
        switch: BorrowedFd<'_>,
        job: &Job<'_>,
        waiting: Option<PreforkedChild>,
    ) -> Result<Held> {
        vet(sandbox, job)?;
        if let Some(held) = waiting.and_then(|child| child.become_job(&self.host, sandbox, job)) {
            return Ok(held);
        }
        let fork = || {
            let worker = self.ready(sandbox, switch)?;
            let (own, size) = ((job.uid, job.gid), private_size(job.limits));
            protocol::patient_pair()
                .and_then(|sockets| {
                    Child::ask(&worker, sandbox, sockets, job.cgroup, own, size, false)
                })
                .and_then(|child| child.become_job(job))
                .inspect_err(|error| self.lost(&worker, error))
                .doing(|| "cannot fork a job".into())
        };
        fork().or_else(|_| fork())
    }

    /// Pre-forks a child for a job in `sandbox`, of this cgroup, uid and gid, with this socket pair: its owner's end, the
    /// child's. `None`: no worker is ready for that, or the child would keep mounts of the host busy.
    pub fn prepare(
        &self,
        sandbox: &Sandbox,
        sockets: (OwnedFd, OwnedFd),
        cgroup: Option<BorrowedFd<'_>>,
        own: (u32, u32),
    ) -> Option<PreforkedChild> {
        let worker = self.serving(sandbox)?;
        let ready = worker.is_ready().is_ok_and(|ready| ready);
        (ready && self.host.is_shared().is_ok_and(|shared| shared)).then_some(())?;
        // The death of a worker whose jobs are all pre-forked is noticed here or never.
        PreforkedChild::ask(&worker, sandbox, sockets, cgroup, own)
            .inspect_err(|error| self.lost(&worker, error))
            .ok()
    }

    pub fn keep_for<'a>(&self, sandboxes: impl Iterator<Item = &'a Sandbox>) {
        let sandboxes: Vec<&Sandbox> = sandboxes.collect();
        let serves = |PooledWorker(worker): &PooledWorker| {
            sandboxes.iter().any(|sandbox| worker.serves(sandbox))
        };
        self.all.borrow_mut().retain(serves);
    }

    /// Ends all workers. Later ones give this socket the listener of their jobs' bus.
    pub fn use_bus(&self, bus: OwnedFd) {
        self.bus.replace(Some(Rc::new(bus)));
        self.end();
    }

    pub fn end(&self) {
        self.all.borrow_mut().clear();
    }

    pub fn family(&self) -> &Family {
        &self.family
    }

    /// Returns why a worker was lost since the last call.
    pub fn loss(&self) -> Option<io::Error> {
        self.why.take()
    }

    fn serving(&self, sandbox: &Sandbox) -> Option<Rc<Process>> {
        let all = self.all.borrow();
        let found = all
            .iter()
            .find(|PooledWorker(worker)| worker.serves(sandbox));
        found.map(|PooledWorker(worker)| Rc::clone(worker))
    }

    /// Returns a worker that takes requests, started if there is none.
    fn ready(&self, sandbox: &Sandbox, switch: BorrowedFd<'_>) -> Result<Rc<Process>> {
        let worker = match self.serving(sandbox) {
            Some(worker) => worker,
            None => {
                let (program, origin) = (self.program.as_fd(), &sandbox.origin);
                let bus = self.bus.borrow().clone();
                Rc::new(Process::start(program, &self.family, switch, bus, origin)?)
            }
        };
        self.use_now(&worker);
        let ready = worker.wait_ready();
        let ready = ready.inspect_err(|error| {
            worker.end();
            self.lost(&worker, error);
        });
        ready.doing(|| "a worker does not become ready".into())?;
        Ok(worker)
    }

    fn use_now(&self, worker: &Rc<Process>) {
        let mut all = self.all.borrow_mut();
        let at = all
            .iter()
            .position(|PooledWorker(it)| Rc::ptr_eq(it, worker));
        let it = at.map_or_else(|| PooledWorker(Rc::clone(worker)), |at| all.remove(at));
        all.push(it);
        if all.len() > MOST {
            all.remove(0);
        }
    }

    /// Gives a worker up if it is gone, hangs or talks nonsense; not if it has reported why it cannot fork.
    fn lost(&self, worker: &Rc<Process>, error: &io::Error) {
        let gone = [
            io::ErrorKind::BrokenPipe,
            // It died with unread requests.
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::UnexpectedEof,
            io::ErrorKind::InvalidData,
        ];
        if worker.ended.get() || gone.contains(&error.kind()) {
            let mut all = self.all.borrow_mut();
            all.retain(|PooledWorker(it)| !Rc::ptr_eq(it, worker));
            let why = io::Error::new(error.kind(), error.to_string());
            self.why.replace(Some(why));
        }
    }
}
