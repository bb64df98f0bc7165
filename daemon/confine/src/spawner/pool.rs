//! The workers of a spawner. Every job comes from one of them: without a worker nothing runs.

use super::Process;
use super::protocol;
use crate::spawner::Family;
use crate::sys;
use crate::{Result, Sandbox};
use remit_spawn::Fork;
use remit_sys::{Doing, Error};
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

    /// Returns the socket of a worker that is ready now, by which the warden asks it for children that wait.
    pub fn socket(&self, sandbox: &Sandbox) -> Result<OwnedFd> {
        let doing = || "cannot fork a job".to_owned();
        let worker = self.serving(sandbox);
        let worker = worker.ok_or_else(|| Error::refused(doing(), "there is no worker"))?;
        let ready = match sys::pidfd_alive(worker.pidfd.as_fd()) {
            // Its death is noticed here or never, if all its jobs' children have waited.
            Ok(false) => Err(io::ErrorKind::BrokenPipe.into()),
            alive => alive.and_then(|_| worker.is_ready()),
        };
        match ready.inspect_err(|error| self.lost(&worker, error)) {
            Ok(true) => worker.socket.try_clone().doing(doing),
            Ok(false) => Err(Error::refused(doing(), "no worker is ready")),
            Err(error) => Err(error).doing(doing),
        }
    }

    /// Passes a question for the child of a job on to its worker.
    pub fn fork(
        &self,
        sandbox: &Sandbox,
        switch: BorrowedFd<'_>,
        fork: &Fork,
        fds: &[BorrowedFd<'_>],
    ) -> Result<()> {
        let doing = || "cannot fork a job".to_owned();
        let worker = self.ready(sandbox, switch)?;
        protocol::send(worker.socket.as_fd(), fork, fds)
            .inspect_err(|error| self.lost(&worker, error))
            .doing(doing)
    }

    /// Ends a worker that does not do its work. The next job has another one started.
    pub fn end_of(&self, sandbox: &Sandbox) {
        let mut all = self.all.borrow_mut();
        all.retain(|PooledWorker(worker)| !worker.serves(sandbox));
    }

    pub fn keep_for<'a>(&self, sandboxes: impl Iterator<Item = &'a Sandbox>) {
        let sandboxes: Vec<&Sandbox> = sandboxes.collect();
        let serves = |PooledWorker(worker): &PooledWorker| {
            sandboxes.iter().any(|sandbox| worker.serves(sandbox))
        };
        self.all.borrow_mut().retain(serves);
    }

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

    fn ready(&self, sandbox: &Sandbox, switch: BorrowedFd<'_>) -> Result<Rc<Process>> {
        let worker = match self.serving(sandbox) {
            Some(worker) => worker,
            None => {
                let (program, bus) = (self.program.as_fd(), self.bus.borrow().clone());
                Rc::new(Process::start(program, &self.family, switch, bus, sandbox)?)
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
            io::ErrorKind::ConnectionReset, // It died with unread requests.
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
