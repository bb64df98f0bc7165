//! A job that was forked, until its end is recorded.

use std::rc::Rc;
use std::time::{Duration, Instant};

use remit_common::outcome::{Ending, Enforced, State};
use remit_link::{JobMeta, Totals};
use remit_spawn::{KeptView, StepFailure, StepReader};
use remit_sys::Cgroup;
use remit_sys::sys::{self, Usage};

use crate::request::Plan;
use crate::sandbox::spawner::Spawned;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    pub state: State,
    pub cause: String,
}

#[derive(Debug)]
pub enum Start {
    Unknown,
    Executed,
    /// No program was executed.
    Failed(StepFailure),
}

#[derive(Debug)]
pub struct Job {
    pub plan: Box<Plan>,
    pub process: Spawned,
    pub cgroup: Cgroup,
    pub cgroup_watched: bool,
    pub reader: StepReader,
    pub steps_watched: bool,
    /// The first process is in the reactor, which reports its end.
    pub exit_watched: bool,
    pub start: Start,
    pub enforced: Option<Enforced>,
    pub stop: Option<Stop>,
    /// Why the commands that follow do not start: it was stopped after its exit, before they were known as such.
    pub acts_stopped: Option<String>,
    /// Of the first process.
    pub status: Option<(std::process::ExitStatus, Usage)>,
    pub exited: Option<Instant>,
    /// Delay after a kill until all processes are killed again.
    pub kill_pause: Duration,
    /// Set once the broker has all of the output.
    pub totals: Option<Totals>,
    /// When the pipes began to be read empty, after the exit.
    pub drains_since: Option<Instant>,
    /// Its copy of the machine, from its end until that is recorded.
    pub left: Option<(Rc<KeptView>, u64)>,
    pub started: Instant,
    pub started_ms: u64,
}

impl Job {
    /// `started`: the moment before it was forked, because its program may run before the fork is reported.
    pub fn new(
        plan: Box<Plan>,
        process: Spawned,
        cgroup: Cgroup,
        (started, started_ms): (Instant, u64),
    ) -> Self {
        Self {
            plan,
            process,
            cgroup,
            cgroup_watched: false,
            reader: StepReader::new(),
            steps_watched: false,
            exit_watched: false,
            start: Start::Unknown,
            enforced: None,
            stop: None,
            acts_stopped: None,
            status: None,
            exited: None,
            kill_pause: Duration::ZERO,
            totals: None,
            drains_since: None,
            left: None,
            started,
            started_ms,
        }
    }

    pub fn meta(&self) -> JobMeta {
        JobMeta {
            waited_ms: self.plan.waited_ms().unwrap_or(0),
            enforced: self.enforced.clone(),
            ..self.plan.meta(self.started_ms, self.started)
        }
    }

    /// Returns how long the first process ran, or has been running.
    pub fn runtime(&self) -> Duration {
        let until = self.exited.unwrap_or_else(Instant::now);
        until.saturating_duration_since(self.started)
    }

    /// Returns the metadata to keep after the end. Moves `enforced` out of the job.
    pub fn ended(&mut self, ending: Ending) -> JobMeta {
        let enforced = self.enforced.take();
        JobMeta {
            age_ms: 0,
            enforced,
            ending: Some(ending),
            is_unread: self.totals.is_none_or(|totals| totals.is_unread),
            ..self.meta()
        }
    }

    /// Sets the reason to end the job; the first is kept. After the exit of the first process only `OutputLimit` can. An end
    /// by a signal that was not reaped yet may be of the same cause: the death of a process of the daemon kills jobs.
    pub fn stop(&mut self, state: State, cause: impl Into<String>) {
        let has_ended = self.status.is_some() || sys::has_exited(self.process.pid);
        if has_ended && state != State::OutputLimit {
            return;
        }
        self.stop.get_or_insert_with(|| Stop {
            state,
            cause: cause.into(),
        });
    }
}
