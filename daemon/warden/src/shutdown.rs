//! The orderly stop of the daemon: jobs are asked to end as by any stop, and changes without a sandbox may finish.
//!
//! It starts nothing, and it never blocks: every wait is a timer of the loop. A job ends with SIGTERM and its grace
//! before SIGKILL, unless somebody asks for the stop a second time.

use std::time::{Duration, Instant};

use remit_common::outcome::State;
use remit_common::wire::Effect;
use remit_policy::Base;

use crate::clock::Timer;
use crate::jobs::Job;
use crate::notify::Note;
use crate::warden::{Gate, Warden};

/// For jobs that were asked to end to do so, to be killed after their grace, drained and recorded.
const ASKED: Duration = Duration::from_secs(20);
/// The same for jobs that were killed.
const KILLED: Duration = Duration::from_secs(10);
/// Between two requests to the service manager for more time, and how much each asks for. sd_notify(3).
const EXTEND: Duration = Duration::from_secs(10);
const EXTEND_BY: Duration = Duration::from_secs(60);
/// Changes that the status names.
const NAMED: usize = 3;
const CAUSE: &str = "remitd was stopped";

/// How far an orderly stop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Changes without a sandbox may go on until then; everything else was asked to end.
    Waits(Instant),
    /// Everything was asked to end.
    Asked,
    /// Everything was killed.
    Killed,
}

impl Warden {
    /// Takes nothing new, has all jobs end, and lets the loop end when they are recorded. A second call waits for
    /// nothing: it kills what is left.
    pub fn stop(&mut self) {
        match self.shutdown {
            None => self.begin_shutdown(),
            Some(Shutdown::Waits(_) | Shutdown::Asked) => self.kill_jobs(),
            Some(Shutdown::Killed) => self.leave_jobs(),
        }
    }

    /// A phase of the stop has taken as long as it may.
    pub fn shutdown_late(&mut self) {
        match self.shutdown {
            Some(Shutdown::Waits(_)) => {
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

    /// Asks the service manager for more time, as long as the stop goes on.
    pub fn extend_shutdown(&mut self) {
        if self.shutdown.is_some() {
            self.notify.extend(EXTEND_BY);
            self.timers.add(EXTEND, Timer::Extend);
        }
    }

    /// Whether the stop waits for changes, which may take minutes. Clients are answered meanwhile.
    pub const fn waits_for_changes(&self) -> bool {
        matches!(self.shutdown, Some(Shutdown::Waits(_)))
    }

    /// What the service manager shows of the stop.
    pub fn shutdown_note(&self) -> Note {
        let waits = match self.shutdown {
            Some(Shutdown::Waits(_)) => {
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
            waits: in_words(&waits, self.config.jobs.stop_wait_s),
        }
    }

    fn begin_shutdown(&mut self) {
        self.notify.stopping();
        self.gate = Gate::Stopping;
        self.unpark();
        self.void_all_requests(CAUSE);
        self.end_all_waiting(
            State::Interrupted,
            "remitd was stopped before it got a place; it never ran",
        );
        let patience = Duration::from_secs(self.config.jobs.stop_wait_s.into());
        let changes = self.jobs.live().filter(|(_, job)| may_finish(job)).count();
        match (changes, Instant::now().checked_add(patience)) {
            (1.., Some(until)) => {
                self.ask_jobs(|job| !may_finish(job));
                self.shutdown = Some(Shutdown::Waits(until));
                self.timers.add(patience, Timer::Stop);
                let Note::Stopping { waits, .. } = self.shutdown_note() else {
                    return self.extend_shutdown();
                };
                say!(
                    "{}; a second SIGTERM ends all at once",
                    waits.unwrap_or_default()
                );
            }
            _ => self.ask_jobs(|_| true),
        }
        self.extend_shutdown();
    }

    /// Asks those jobs to end; each is killed after its grace.
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

    /// Jobs that are left die with the keeper, and the next start records them as interrupted.
    fn leave_jobs(&mut self) {
        let left = self.jobs.serials().len();
        say!("{left} jobs are not recorded as ended; the next start records them");
        self.leaving = true;
    }
}

/// Whether a stop of the daemon waits for this job: a change without a sandbox is a package manager or the like, and
/// what it has half done nobody undoes.
fn may_finish(job: &Job) -> bool {
    let bound = &job.plan.bound;
    bound.compiled.base() == Base::Host && bound.effect == Effect::Change
}

/// What is waited for; `None`: nothing is.
fn in_words(waits: &[String], seconds: u32) -> Option<String> {
    let named = waits.iter().take(NAMED).map(String::as_str);
    let named = named.collect::<Vec<_>>().join(", ");
    let more = match waits.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!waits.is_empty()).then(|| {
        let minutes = seconds.div_ceil(60);
        format!("waits up to {minutes} min for changes that run: {named}{more}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waited_for_changes_are_named_and_counted() {
        let check = |waits: &[&str], expect: Option<&str>| {
            let waits: Vec<String> = waits.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(in_words(&waits, 600).as_deref(), expect);
        };
        check(&[], None);
        check(&["a"], Some("waits up to 10 min for changes that run: a"));
        check(
            &["a", "b", "c", "d", "e"],
            Some("waits up to 10 min for changes that run: a, b, c and 2 more"),
        );
    }
}
