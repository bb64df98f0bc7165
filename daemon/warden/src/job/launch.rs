//! Follows a job that was just forked: watches it, hands it to the broker, and reads its steps until exec.

use std::os::fd::AsFd;
use std::time::Duration;

use remit_link::ToBroker;
use remit_spawn::Progress;

use crate::event_loop::epoll::{Interest, Token};
use crate::event_loop::timers::Timer;
use crate::job::spawn_failure::Failure;
use crate::job::table::{self, Job, Start};
use crate::state::Warden;

/// Delay before a job's steps are read and reported. Most jobs have ended by then, and their end reports all steps.
const STEPS: Duration = Duration::from_millis(5);

impl Warden {
    pub fn follow(&mut self, job: Job) {
        // Clients who learn that the job runs must find it in the history. The job already starts meanwhile.
        self.send_history();
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
            Some(waited_ms) => ToBroker::Started {
                job: meta.job,
                started_ms: meta.started_ms,
                waited_ms,
            },
        };
        let fds = table::output(&job.process).map(AsFd::as_fd);
        self.broker.send(&message, &fds);
        if let Err(error) = watched {
            // A job that cannot be watched must not continue.
            say!("cannot watch a job: {error}");
            self.end_job(
                serial,
                remit_common::outcome::State::Interrupted,
                "it could not be watched",
            );
        }
    }

    /// Reads the steps of a job, and watches those that are still missing.
    pub fn on_steps_timeout(&mut self, serial: u64) {
        self.read_steps(serial);
        let Some(job) = self.jobs.get(serial) else {
            return;
        };
        match job.start {
            // If it cannot be watched, the steps are read when the job ends.
            Start::Unknown => {
                let (steps, token) = (&job.process.steps, Token::Steps(serial));
                job.steps_watched = self.reactor.add(steps, token, Interest::Read).is_ok();
            }
            Start::Executed => self.tell_running(serial),
            Start::Failed(_) => {}
        }
    }

    pub fn read_steps(&mut self, serial: u64) {
        let Some(job) = self.jobs.get(serial) else {
            return;
        };
        if !matches!(job.start, Start::Unknown) {
            return;
        }
        let steps = match job.reader.read(job.process.steps.as_fd()) {
            Progress::More => return,
            Progress::Executed(steps) => Ok(steps),
            Progress::Failed {
                done: _,
                step,
                errno,
                why,
                at,
            } => Err(Failure {
                step,
                errno,
                why,
                at,
            }),
        };
        let is_late = std::mem::take(&mut job.steps_watched);
        if is_late {
            self.reactor.remove(&job.process.steps);
        }
        match steps {
            Err(failure) => job.start = Start::Failed(failure),
            Ok(steps) => {
                job.start = Start::Executed;
                job.enforced = self.sandbox.enforced(&job.plan, &steps);
                if is_late {
                    self.tell_running(serial);
                }
            }
        }
    }

    fn tell_running(&mut self, serial: u64) {
        if let Some(job) = self.jobs.get(serial)
            && let Some(enforced) = job.enforced.clone()
        {
            let (job, enforced) = (job.plan.job, Box::new(enforced));
            self.tell(&ToBroker::Running { job, enforced });
        }
    }
}
