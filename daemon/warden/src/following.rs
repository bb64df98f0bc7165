//! A job that was just forked: watched, given to the broker, and heard on its way to the exec.

use std::os::fd::AsFd;
use std::time::Duration;

use remit_confine::{Progress, Step};
use remit_link::ToBroker;

use crate::clock::Timer;
use crate::jobs::{self, Job, Start};
use crate::reactor::{Interest, Token};
use crate::unstarted::Failure;
use crate::warden::Warden;

/// How long after its fork a job's steps are read, if it has not ended before: most have, and the daemon is woken once
/// less for them.
const STEPS: Duration = Duration::from_millis(5);

impl Warden {
    /// Follows a job that was just forked, and gives it to the broker.
    pub fn follow(&mut self, job: Job) {
        let ticket = job.plan.requester.ticket;
        let runtime = Duration::from_secs(job.plan.bound.runtime.seconds.into());
        let serial = self.jobs.add(job);
        self.timers.add(runtime, Timer::Runtime(serial));
        let Some(job) = self.jobs.get(serial) else {
            return;
        };
        self.timers.add(STEPS, Timer::Steps(serial));
        let watched = self
            .reactor
            .add(&job.process.pidfd, Token::Job(serial), Interest::ReadOnce);
        let meta = Box::new(job.meta());
        let message = match job.plan.waited_ms() {
            None => ToBroker::Job {
                secrets: job.plan.secrets(),
                ticket: Some(ticket),
                meta,
            },
            Some(waited_ms) => ToBroker::Begun {
                job: meta.job,
                started_ms: meta.started_ms,
                waited_ms,
            },
        };
        let fds = jobs::output(&job.process).map(AsFd::as_fd);
        self.broker.send(&message, &fds);
        if let Err(error) = watched {
            // A job that cannot be followed must not go on.
            say!("cannot watch a job: {error}");
            self.end_job(
                serial,
                remit_common::outcome::State::Interrupted,
                "it could not be watched",
            );
        }
    }

    /// A job has had time for its way to the exec: what is not over yet is watched.
    pub fn steps_late(&mut self, serial: u64) {
        self.read_steps(serial);
        let Some(job) = self.jobs.get(serial) else {
            return;
        };
        if matches!(job.start, Start::Unknown) {
            // One that cannot be watched is read when the job ends.
            job.steps_watched = self
                .reactor
                .add(&job.process.steps, Token::Steps(serial), Interest::Read)
                .is_ok();
        }
    }

    /// A job's way to its exec went on.
    pub fn read_steps(&mut self, serial: u64) {
        let Some(job) = self.jobs.get(serial) else {
            return;
        };
        if !matches!(job.start, Start::Unknown) {
            return;
        }
        let progress = job.reader.read(job.process.steps.as_fd());
        if matches!(progress, Progress::More) {
            return;
        }
        if std::mem::take(&mut job.steps_watched) {
            self.reactor.remove(&job.process.steps);
        }
        let steps: Vec<Step> = match progress {
            Progress::More => return,
            Progress::Executed(steps) => steps,
            Progress::Failed {
                done: _,
                step,
                errno,
                why,
                at,
            } => {
                job.start = Start::Failed(Failure {
                    step,
                    errno,
                    why,
                    at,
                });
                return;
            }
        };
        job.start = Start::Executed;
        let Some(enforced) = self.walls.enforced(&job.plan, &steps) else {
            return;
        };
        let message = ToBroker::Running {
            job: job.plan.job,
            enforced: Box::new(enforced),
        };
        self.tell(&message);
        if let (ToBroker::Running { enforced, .. }, Some(job)) = (message, self.jobs.get(serial)) {
            job.enforced = Some(*enforced);
        }
    }
}
