//! The zygotes of a warden, and when to do without: then it forks jobs itself, as safely and slower.

use super::{Failed, Waiting, Zygote, end};
use crate::error::Doing;
use crate::floor;
use crate::{Job, Result, Sandbox, Spawned, Switch, spawn};
use std::{
    cell::{Cell, RefCell},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

/// One for each profile in use, up to this many; then the one that was started first goes.
const MOST: usize = 4;
/// After one was lost, another is started no sooner than this.
const AGAIN: Duration = Duration::from_secs(10);

/// Zygotes, started as jobs need them.
#[derive(Debug)]
pub struct Zygotes {
    /// This program, as it was started: whatever becomes of its file.
    program: OwnedFd,
    /// The mount namespace of this process.
    host: OwnedFd,
    all: RefCell<Vec<Zygote>>,
    lost: Cell<Option<Instant>>,
    why: RefCell<Option<io::Error>>,
}

impl Zygotes {
    /// Zygotes of this very program, whose `main` has to begin with [`asked_for`](super::asked_for).
    pub fn of_this_program() -> Result<Zygotes> {
        let program = floor::open(c"/proc/self/exe", libc::O_PATH)
            .doing(|| "cannot open '/proc/self/exe'".into())?;
        let host = floor::open(c"/proc/self/ns/mnt", libc::O_RDONLY)
            .doing(|| "cannot open '/proc/self/ns/mnt'".into())?;
        Ok(Zygotes {
            program,
            host,
            all: RefCell::default(),
            lost: Cell::default(),
            why: RefCell::default(),
        })
    }

    /// Starts a zygote for the jobs of `sandbox`, if it is one for zygotes, and waits until it is ready: some
    /// milliseconds.
    ///
    /// # Errors
    /// There is none. Jobs are forked all the same.
    pub fn warm(&self, sandbox: &Sandbox, switch: &Switch) -> Result<()> {
        let Some(recipe) = &sandbox.recipe else {
            return Ok(());
        };
        let zygote = Zygote::start(self.program.as_fd(), switch, recipe)?;
        zygote
            .wait_ready()
            .doing(|| "a zygote does not get ready".into())?;
        self.all.borrow_mut().push(zygote);
        Ok(())
    }

    /// [`spawn`], by a zygote where one is ready. It is `waiting` that becomes the job, or that has ended before the
    /// job is forked; where one is given, it was made for this job.
    ///
    /// # Errors
    /// As [`spawn`].
    pub fn spawn(
        &self,
        sandbox: &Sandbox,
        switch: &Switch,
        job: &Job<'_>,
        waiting: Option<Waiting>,
    ) -> Result<Spawned> {
        end::reap_late(Duration::ZERO);
        let host = self.host.as_fd();
        match waiting.and_then(|child| child.become_job(host, sandbox, job)) {
            Some(spawned) => Ok(spawned),
            None => self
                .try_zygote(sandbox, switch, job)
                .unwrap_or_else(|| spawn(sandbox, job)),
        }
    }

    /// Has a child forked ahead for a job in `sandbox`, of this cgroup, uid and gid. `None`: no zygote is ready for
    /// that.
    pub fn prepare(
        &self,
        sandbox: &Sandbox,
        cgroup: Option<BorrowedFd<'_>>,
        own: (u32, u32),
    ) -> Option<Waiting> {
        let all = self.all.borrow();
        let zygote = all.iter().find(|zygote| zygote.serves(sandbox))?;
        let ready = zygote.is_ready().is_ok_and(|ready| ready);
        ready.then(|| zygote.prepare(cgroup, own)).flatten()
    }

    /// Tells all that nothing waits any more: so they hold nothing of the host's.
    pub fn dismissed(&self) {
        self.all.borrow().iter().for_each(Zygote::dismissed);
    }

    /// Ends those that fork jobs of none of `sandboxes`.
    pub fn keep_for<'a>(&self, sandboxes: impl Iterator<Item = &'a Sandbox>) {
        let sandboxes: Vec<&Sandbox> = sandboxes.collect();
        let serves = |zygote: &Zygote| sandboxes.iter().any(|sandbox| zygote.serves(sandbox));
        self.all.borrow_mut().retain(serves);
    }

    /// Ends all, and waits so long for what was late to end.
    pub fn end(&self, patience: Duration) {
        self.all.borrow_mut().clear();
        end::reap_late(patience);
    }

    /// Why one was lost, since this was last asked.
    pub fn loss(&self) -> Option<io::Error> {
        self.why.take()
    }

    fn lose(&self, why: io::Error) {
        self.lost.set(Some(Instant::now()));
        self.why.replace(Some(why));
    }

    fn try_zygote(
        &self,
        sandbox: &Sandbox,
        switch: &Switch,
        job: &Job<'_>,
    ) -> Option<Result<Spawned>> {
        let recipe = sandbox.recipe.as_ref()?;
        let mut all = self.all.borrow_mut();
        let Some(at) = all.iter().position(|zygote| zygote.serves(sandbox)) else {
            let early = self.lost.get().is_some_and(|at| at.elapsed() < AGAIN);
            if early {
                return None;
            }
            match Zygote::start(self.program.as_fd(), switch, recipe) {
                Ok(zygote) => {
                    if all.len() >= MOST {
                        all.remove(0);
                    }
                    all.push(zygote);
                }
                Err(error) => self.lose(io::Error::other(error)),
            }
            return None;
        };
        let zygote = all.get(at)?;
        let spawned = match zygote.is_ready() {
            Ok(false) => return None,
            Ok(true) => zygote.spawn(sandbox, job)?,
            Err(error) => Err(Failed::Gone(error)),
        };
        match spawned {
            Ok(spawned) => Some(Ok(spawned)),
            Err(Failed::Killed(error)) => Some(Err(error)),
            // What is wrong with the job itself, the warden finds, too.
            Err(Failed::Fork) => None,
            Err(Failed::Gone(error)) => {
                all.remove(at);
                self.lose(error);
                None
            }
        }
    }
}
