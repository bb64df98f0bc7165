//! The zygotes of a warden, and when to do without: then it forks jobs itself, as safely and slower.

use super::{Failed, Zygote};
use crate::error::Doing;
use crate::floor;
use crate::{Job, Keeper, Result, Sandbox, Spawned, spawn};
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

/// Zygotes, started as jobs need them. None has outlived a change of the keeper.
#[derive(Debug)]
pub struct Zygotes {
    /// This program, as it was started: whatever becomes of its file.
    program: OwnedFd,
    all: RefCell<Vec<Zygote>>,
    /// The one that forks ahead: two jobs in a row were for it.
    usual: Cell<usize>,
    /// The one that the last job was for.
    last: Cell<usize>,
    lost: Cell<Option<Instant>>,
    why: RefCell<Option<io::Error>>,
}

impl Zygotes {
    /// Zygotes of this very program, whose `main` has to begin with [`asked_for`](super::asked_for).
    pub fn of_this_program() -> Result<Zygotes> {
        let program = floor::open(c"/proc/self/exe", libc::O_PATH)
            .doing(|| "cannot open '/proc/self/exe'".into())?;
        Ok(Zygotes {
            program,
            all: RefCell::default(),
            usual: Cell::default(),
            last: Cell::default(),
            lost: Cell::default(),
            why: RefCell::default(),
        })
    }

    /// Starts a zygote for the jobs of `sandbox`, if it is one for zygotes, and waits until it is ready: some
    /// milliseconds.
    ///
    /// # Errors
    /// There is none. Jobs are forked all the same.
    pub fn warm(&self, sandbox: &Sandbox, keeper: &Keeper) -> Result<()> {
        let Some(recipe) = &sandbox.recipe else {
            return Ok(());
        };
        let zygote = Zygote::start(self.program.as_fd(), keeper, sandbox, recipe)?;
        zygote
            .wait_ready()
            .doing(|| "a zygote does not get ready".into())?;
        self.all.borrow_mut().push(zygote);
        Ok(())
    }

    /// [`spawn`], by a zygote where one is ready.
    ///
    /// # Errors
    /// As [`spawn`].
    pub fn spawn(&self, sandbox: &Sandbox, keeper: &Keeper, job: &Job<'_>) -> Result<Spawned> {
        match self.try_zygote(sandbox, keeper, job) {
            Some(spawned) => spawned,
            None => {
                let all = self.all.borrow();
                all.iter().for_each(|zygote| zygote.make_way(job));
                spawn(sandbox, keeper, job)
            }
        }
    }

    /// Has a child forked ahead for the next job, of the kind that came twice in a row. It will be in `cgroup`, and
    /// only a job in there becomes it, in a `strict` sandbox only one of uid and gid `own`; any other job in there
    /// has it ended before.
    pub fn prepare(&self, cgroup: Option<BorrowedFd<'_>>, own: (u32, u32)) {
        let all = self.all.borrow();
        let usual = all.get(self.usual.get()).or_else(|| all.first());
        if let Some(zygote) = usual.filter(|zygote| zygote.is_ready().is_ok_and(|ready| ready)) {
            zygote.prepare(cgroup, own);
        }
    }

    /// Ends what was forked ahead.
    pub fn dismiss(&self, cgroup: Option<BorrowedFd<'_>>) {
        for zygote in self.all.borrow().iter() {
            zygote.dismiss(cgroup);
        }
    }

    /// Does `then` with what hangs up when a child that waits has ended.
    pub fn with_waiting(&self, mut then: impl FnMut(BorrowedFd<'_>)) {
        let all = self.all.borrow();
        all.iter().for_each(|zygote| zygote.with_waiting(&mut then));
    }

    /// Waits until it is known which children wait: a millisecond.
    pub fn settle(&self) {
        for zygote in self.all.borrow().iter() {
            zygote.settle();
        }
    }

    /// Reaps children that waited and have ended.
    pub fn reap(&self) {
        for zygote in self.all.borrow().iter() {
            zygote.reap();
        }
    }

    /// Ends those that fork jobs of none of `sandboxes`.
    pub fn keep_for<'a>(&self, sandboxes: impl Iterator<Item = &'a Sandbox>) {
        let sandboxes: Vec<&Sandbox> = sandboxes.collect();
        let serves = |zygote: &Zygote| sandboxes.iter().any(|sandbox| zygote.serves(sandbox));
        self.all.borrow_mut().retain(serves);
    }

    /// Ends all: the keeper of their jobs is gone.
    pub fn end(&self) {
        self.all.borrow_mut().clear();
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
        keeper: &Keeper,
        job: &Job<'_>,
    ) -> Option<Result<Spawned>> {
        let recipe = sandbox.recipe.as_ref()?;
        let mut all = self.all.borrow_mut();
        let Some(at) = all.iter().position(|zygote| zygote.serves(sandbox)) else {
            let early = self.lost.get().is_some_and(|at| at.elapsed() < AGAIN);
            if early {
                return None;
            }
            match Zygote::start(self.program.as_fd(), keeper, sandbox, recipe) {
                Ok(zygote) => {
                    if all.len() >= MOST {
                        all.remove(0);
                    }
                    all.push(zygote);
                    self.last.set(all.len() - 1);
                }
                Err(error) => self.lose(io::Error::other(error)),
            }
            return None;
        };
        if self.last.replace(at) == at {
            self.usual.set(at);
        }
        let others = all.iter().enumerate().filter(|(other, _)| *other != at);
        others.for_each(|(_, zygote)| zygote.make_way(job));
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
