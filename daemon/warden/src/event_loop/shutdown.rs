//! Stops the daemon in order: all jobs are asked to end, but changes without a sandbox may finish. It starts nothing
//! and never blocks: every wait is a timer of the loop. A job gets SIGTERM and its grace before SIGKILL, unless the
//! stop is requested a second time.

use std::time::{Duration, Instant};

use remit_common::outcome::State;
use remit_common::wire::Effect;
use remit_policy::Base;

use crate::event_loop::timers::Timer;
use crate::job::table::Job;
use crate::service::sd_notify::Note;
use crate::state::{AdmissionState, Warden};

/// Timeout for jobs that got SIGTERM: end, kill after the grace, drain and record.
const ASKED: Duration = Duration::from_secs(20);
/// The same for jobs that were killed.
const KILLED: Duration = Duration::from_secs(10);
/// Interval between requests for more time to the service manager, and the time of each (sd_notify(3)).
const EXTEND: Duration = Duration::from_secs(10);
const EXTEND_BY: Duration = Duration::from_secs(60);
const NAMED: usize = 3;
const CAUSE: &str = "remitd was stopped";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Changes without a sandbox may run until then. Everything else was asked to end.
    WaitingForChanges(Instant),
    Asked,
    Killed,
}

impl Warden {
    /// Refuses new work, asks all jobs to end, and ends the loop when they are recorded. A second call kills the
    /// remaining jobs at once.
    pub fn stop(&mut self) {
        match self.shutdown {
            None => self.begin_shutdown(),
            Some(Shutdown::WaitingForChanges(_) | Shutdown::Asked) => self.kill_jobs(),
            Some(Shutdown::Killed) => self.leave_jobs(),
        }
    }

    pub fn on_shutdown_timeout(&mut self) {
        match self.shutdown {
            Some(Shutdown::WaitingForChanges(_)) => {
                let minutes = self.config.jobs.stop_wait_s.div_ceil(60);
                say!(
                    "changes that run have had {minutes} min (jobs.stop_wait_s): they are asked to end"
                );
                self.ask_jobs(|_| true);
            }
            Some(Shutdown::Asked | Shutdown::Killed) => self.leave_jobs(),
            None => {}
        }
    }

    /// Asks the service manager for more time as long as the shutdown lasts.
    pub fn extend_shutdown(&mut self) {
        if self.shutdown.is_some() {
            self.notify.extend(EXTEND_BY);
            self.timers.add(EXTEND, Timer::Extend);
        }
    }

    /// Clients are still answered during this wait, which may take minutes.
    pub const fn is_waiting_for_changes(&self) -> bool {
        matches!(self.shutdown, Some(Shutdown::WaitingForChanges(_)))
    }

    pub fn shutdown_note(&self) -> Note {
        let waiting_for = match self.shutdown {
            Some(Shutdown::WaitingForChanges(_)) => {
                let live = self.jobs.live().filter(|(_, job)| may_finish(job));
                let names = live.map(|(_, job)| {
                    format!("{} (job {})", job.plan.command(), job.plan.job.short())
                });
                names.collect()
            }
            Some(Shutdown::Asked | Shutdown::Killed) | None => Vec::new(),
        };
        Note::Stopping {
            jobs: self.jobs.count_live(),
            waiting_for: in_words(&waiting_for, self.config.jobs.stop_wait_s),
        }
    }

    fn begin_shutdown(&mut self) {
        self.notify.stopping();
        self.gate = AdmissionState::Stopping;
        self.unpark();
        self.void_all_requests(CAUSE);
        self.end_all_waiting(
            State::Interrupted,
            "remitd was stopped before the job got a slot; it never ran",
        );
        let patience = Duration::from_secs(self.config.jobs.stop_wait_s.into());
        let changes = self.jobs.live().filter(|(_, job)| may_finish(job)).count();
        match (changes, Instant::now().checked_add(patience)) {
            (1.., Some(until)) => {
                self.ask_jobs(|job| !may_finish(job));
                self.shutdown = Some(Shutdown::WaitingForChanges(until));
                self.timers.add(patience, Timer::Stop);
                let Note::Stopping { waiting_for, .. } = self.shutdown_note() else {
                    return self.extend_shutdown();
                };
                say!(
                    "{}; a second SIGTERM ends all at once",
                    waiting_for.unwrap_or_default()
                );
            }
            _ => self.ask_jobs(|_| true),
        }
        self.extend_shutdown();
    }

    /// Each job is killed after its grace.
    fn ask_jobs(&mut self, which: impl Fn(&Job) -> bool) {
        let live = self.jobs.live().filter(|(_, job)| which(job));
        let serials: Vec<u64> = live.map(|(serial, _)| serial).collect();
        for serial in serials {
            self.ask_to_end(serial, libc::SIGTERM, State::Interrupted, CAUSE);
        }
        self.shutdown = Some(Shutdown::Asked);
        self.timers.add(ASKED, Timer::Stop);
    }

    fn kill_jobs(&mut self) {
        for serial in self.jobs.serials() {
            self.end_job(serial, State::Interrupted, CAUSE);
        }
        self.shutdown = Some(Shutdown::Killed);
        self.timers.add(KILLED, Timer::Stop);
    }

    /// Remaining jobs die with PID 1. The next start records them as interrupted.
    fn leave_jobs(&mut self) {
        let left = self.jobs.serials().len();
        say!("the end of {left} jobs is not recorded; the next start records it");
        self.leaving = true;
    }
}

/// Returns whether a shutdown waits for this job. A change without a sandbox may be a package manager, and nobody
/// would undo its half-done work.
fn may_finish(job: &Job) -> bool {
    let bound = &job.plan.bound;
    bound.compiled.base() == Base::Host && bound.effect == Effect::Change
}

fn in_words(waiting_for: &[String], seconds: u32) -> Option<String> {
    let named = waiting_for.iter().take(NAMED).map(String::as_str);
    let named = named.collect::<Vec<_>>().join(", ");
    let more = match waiting_for.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!waiting_for.is_empty()).then(|| {
        let minutes = seconds.div_ceil(60);
        format!("waits up to {minutes} min for changes that run: {named}{more}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waited_for_changes_are_named_and_counted() {
        let check = |waiting_for: &[&str], expect: Option<&str>| {
            let waiting_for: Vec<String> =
                waiting_for.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(in_words(&waiting_for, 600).as_deref(), expect);
        };
        check(&[], None);
        check(&["a"], Some("waits up to 10 min for changes that run: a"));
        check(
            &["a", "b", "c", "d", "e"],
            Some("waits up to 10 min for changes that run: a, b, c and 2 more"),
        );
    }
}
