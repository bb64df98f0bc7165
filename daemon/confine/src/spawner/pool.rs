//! The workers of a spawner. Without one, the spawner forks jobs itself, as safely but slower.

use super::Failed;
use super::PreforkedChild;
use super::WorkerHandle;
use crate::spawner::Family;
use crate::sys;
use crate::{Held, Job, Result, Sandbox, spawn};
use remit_sys::Doing;
use std::{
    cell::{Cell, RefCell},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

/// One for each profile in use, up to this many; then the oldest one is ended.
const MOST: usize = 4;
/// Time after a loss before another worker is started.
const AGAIN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Workers {
    /// This program, as it was started, whatever becomes of its file.
    program: OwnedFd,
    host: OwnedFd,
    family: Family,
    all: RefCell<Vec<WorkerHandle>>,
    lost: Cell<Option<Instant>>,
    why: RefCell<Option<io::Error>>,
}

impl Workers {
    /// Makes workers of this very program, whose `main` must begin with [`asked_for`](super::is_worker).
    pub fn of_this_program(family: Family) -> Result<Workers> {
        let program = sys::open(c"/proc/self/exe", libc::O_PATH)
            .doing(|| "cannot open '/proc/self/exe'".into())?;
        let host = sys::open(c"/proc/self/ns/mnt", libc::O_RDONLY)
            .doing(|| "cannot open '/proc/self/ns/mnt'".into())?;
        Ok(Workers {
            program,
            host,
            family,
            all: RefCell::default(),
            lost: Cell::default(),
            why: RefCell::default(),
        })
    }

    /// Starts a worker for the jobs of `sandbox`, if workers can serve it, and waits some milliseconds until it is
    /// ready. Without a worker jobs are forked all the same.
    pub fn warm(&self, sandbox: &Sandbox, switch: BorrowedFd<'_>) -> Result<()> {
        let Some(recipe) = &sandbox.recipe else {
            return Ok(());
        };
        let worker = WorkerHandle::start(self.program.as_fd(), &self.family, switch, recipe)?;
        worker
            .wait_ready()
            .doing(|| "a worker does not become ready".into())?;
        self.all.borrow_mut().push(worker);
        Ok(())
    }

    /// Does the same as [`spawn`], by a worker if possible. `waiting`, made for this job, becomes it, or ends before.
    pub fn spawn(
        &self,
        sandbox: &Sandbox,
        switch: BorrowedFd<'_>,
        job: &Job<'_>,
        waiting: Option<PreforkedChild>,
    ) -> Result<Held> {
        let host = self.host.as_fd();
        match waiting.and_then(|child| child.become_job(host, sandbox, job)) {
            Some(held) => Ok(held),
            None => self
                .try_worker(sandbox, switch, job)
                .unwrap_or_else(|| spawn(sandbox, job, &self.family)),
        }
    }

    /// Pre-forks a child for a job in `sandbox`, of this cgroup, uid and gid. `None`: no worker is ready for that.
    pub fn prepare(
        &self,
        sandbox: &Sandbox,
        cgroup: Option<BorrowedFd<'_>>,
        own: (u32, u32),
    ) -> Option<PreforkedChild> {
        let all = self.all.borrow();
        let worker = all.iter().find(|worker| worker.serves(sandbox))?;
        let ready = worker.is_ready().is_ok_and(|ready| ready);
        ready.then(|| worker.prepare(cgroup, own)).flatten()
    }

    /// Notifies all workers that no child waits any more, so that they hold nothing of the host's.
    pub fn drop_preforked(&self) {
        self.all
            .borrow()
            .iter()
            .for_each(WorkerHandle::drop_preforked);
    }

    pub fn keep_for<'a>(&self, sandboxes: impl Iterator<Item = &'a Sandbox>) {
        let sandboxes: Vec<&Sandbox> = sandboxes.collect();
        let serves = |worker: &WorkerHandle| sandboxes.iter().any(|sandbox| worker.serves(sandbox));
        self.all.borrow_mut().retain(serves);
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

    fn lose(&self, why: io::Error) {
        self.lost.set(Some(Instant::now()));
        self.why.replace(Some(why));
    }

    fn try_worker(
        &self,
        sandbox: &Sandbox,
        switch: BorrowedFd<'_>,
        job: &Job<'_>,
    ) -> Option<Result<Held>> {
        let recipe = sandbox.recipe.as_ref()?;
        let mut all = self.all.borrow_mut();
        let Some(at) = all.iter().position(|worker| worker.serves(sandbox)) else {
            let early = self.lost.get().is_some_and(|at| at.elapsed() < AGAIN);
            if early {
                return None;
            }
            match WorkerHandle::start(self.program.as_fd(), &self.family, switch, recipe) {
                Ok(worker) => {
                    if all.len() >= MOST {
                        all.remove(0);
                    }
                    all.push(worker);
                }
                Err(error) => self.lose(io::Error::other(error)),
            }
            return None;
        };
        let worker = all.get(at)?;
        let spawned = match worker.is_ready() {
            Ok(false) => return None,
            Ok(true) => worker.spawn(sandbox, job)?,
            Err(error) => Err(Failed::Gone(error)),
        };
        match spawned {
            Ok(spawned) => Some(Ok(spawned)),
            Err(Failed::Killed(error)) => Some(Err(error)),
            // If the job itself is wrong, the direct fork finds that out, too.
            Err(Failed::Fork) => None,
            Err(Failed::Gone(error)) => {
                all.remove(at);
                self.lose(error);
                None
            }
        }
    }
}
