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
        let watched = self
            .reactor
            .add(&job.process.pidfd, Token::Job(serial), Interest::Read)
            .and_then(|()| {
                self.reactor
                    .add(&job.process.steps, Token::Steps(serial), Interest::Read)
            });
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

    /// A job's way to its exec went on.
    pub fn read_steps(&mut self, serial: u64) {
        let Some(job) = self.jobs.get(serial) else {
            return;
        };
        if !matches!(job.start, Start::Unknown) {
            return;
        }
        let steps: Vec<Step> = match job.reader.read(job.process.steps.as_fd()) {
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
                self.reactor.remove(&job.process.steps);
                return;
            }
        };
        self.reactor.remove(&job.process.steps);
        job.start = Start::Executed;
        let Some(enforced) = self.walls.enforced(&job.plan, &steps) else {
            return;
        };
        job.enforced = Some(enforced.clone());
        let message = ToBroker::Running {
            job: job.plan.job,
            enforced: Box::new(enforced),
        };
        self.tell(&message);
    }
}
