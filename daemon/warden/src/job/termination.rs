//! Job termination: signal, kill, reap, verify that no process is left, drain output, write the end record, notify
//! the broker.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use remit_common::denial::ProfileVisibility;
use remit_common::names::JobId;
use remit_common::outcome::State;
use remit_common::refusal::{Code, Refusal};
use remit_link::{JobMeta, ToBroker, Totals};
use remit_sys::sys;

use crate::audit::Unwritten;
use crate::event_loop::epoll::{Interest, Token};
use crate::event_loop::timers::Timer;
use crate::job::life::{Action, Event};
use crate::job::never_ran::follow_end;
use crate::job::outcome::{end_record, ending};
use crate::job::table::Job;
use crate::job::unkillable::Stuck;
use crate::sandbox;
use crate::startup::error::chain;
use crate::startup::fault::{self, Point};
use crate::state::Warden;

/// Time between the first signal of a stop and the kill.
const GRACE: Duration = Duration::from_secs(5);
/// Time for killed processes to end: the first one, then the others. Longer means stuck in a system call.
const KILL_FIRST: Duration = Duration::from_secs(5);
const KILL: Duration = Duration::from_secs(2);
/// Pause between two kills. Before Linux 6.14, a fork during a kill may leave a process that is not killed.
const AGAIN: Duration = Duration::from_millis(50);
/// Longest pause between two kills; see [`AGAIN`].
pub const AGAIN_MOST: Duration = Duration::from_secs(1);
/// Time for the broker to see the end of the pipes by itself. It usually does, which saves one wake-up.
const EXITED: Duration = Duration::from_millis(10);
/// Time for the broker to drain the pipes after the notice. Then the end is recorded without output numbers.
const DRAIN: Duration = Duration::from_secs(5);
const RECORD: Duration = Duration::from_secs(1);

/// The last of the real-time signals on Linux, signal(7).
const LAST_SIGNAL: i32 = 64;

fn pause_after(pause: Duration) -> Duration {
    pause.saturating_mul(2).clamp(AGAIN, AGAIN_MOST)
}

impl Warden {
    /// Stops a job. A job that has already ended counts as stopped.
    /// Errors: `invalid_args`: there is no such signal.
    pub fn stop_job(
        &mut self,
        job: JobId,
        signal: Option<i32>,
        cause: &str,
    ) -> Result<(), Refusal> {
        let signal = signal.unwrap_or(libc::SIGTERM);
        if !(1..=LAST_SIGNAL).contains(&signal) {
            let text = format!("{signal} is not a signal");
            return Err(Refusal::new(Code::InvalidArgs, text).object("signal"));
        }
        if let Some(serial) = self.jobs.serial(job) {
            self.ask_to_end(serial, signal, State::Cancelled, cause);
        } else {
            self.end_if_waiting(job, State::Cancelled, cause);
            self.cancel_request(job, cause);
        }
        Ok(())
    }

    /// Sends a signal to the job's process group, and kills the job after `GRACE`.
    pub fn ask_to_end(&mut self, serial: u64, signal: i32, state: State, cause: &str) {
        let Some(job) = self.jobs.get(serial) else {
            return;
        };
        // A job that has just ended by itself was not stopped. Its end is about to be handled.
        if matches!(sys::pidfd_alive(job.process.pidfd.as_fd()), Ok(false)) {
            return;
        }
        // A repeated stop does not extend the time.
        let first = job.stop.is_none();
        job.stop(state, cause);
        // The whole group gets it, as from a terminal: a shell defers some signals until its child ends. Before
        // there is a group, the process gets it. A process that has just ended needs none.
        if sys::signal_group(job.process.pid, signal).is_err() {
            let _ = sys::pidfd_send_signal(&job.process.pidfd, signal);
        }
        if first {
            self.timers.add(GRACE, Timer::Grace(serial));
        }
    }

    pub fn end_job(&mut self, serial: u64, state: State, cause: &str) {
        let Some(job) = self.jobs.get(serial) else {
            return;
        };
        job.stop(state, cause);
        self.follow_life(serial, Event::Kill);
    }

    /// Tells a forked job's life what happened, and does what it demands.
    pub fn follow_life(&mut self, serial: u64, event: Event) {
        let Some(job) = self.jobs.get(serial) else {
            return;
        };
        match job.plan.life.on(event) {
            Some(Action::Kill) => self.kill_all(serial),
            Some(Action::KillOthers) => self.kill_others(serial),
            Some(Action::AwaitOutput) => self.await_output(serial),
            Some(Action::RecordEnd) => self.record_end(serial),
            // The others are demanded of jobs that are not forked yet, or by `record_end`.
            Some(_) | None => {}
        }
    }

    fn kill_all(&mut self, serial: u64) {
        let Some(job) = self.jobs.get(serial) else {
            return;
        };
        if let Err(error) = job.cgroup.kill() {
            say_error!("cannot end job {}: {}", job.plan.job, chain(&error));
        }
        // The first process is killed separately, in whatever cgroup it is.
        let _ = sys::pidfd_send_signal(&job.process.pidfd, libc::SIGKILL);
        // A repeated kill does not extend the time.
        if !self.timers.has(Timer::Kill(serial)) {
            self.timers.add(KILL_FIRST, Timer::Kill(serial));
        }
        if !self.timers.has(Timer::KillAgain(serial)) {
            let pause = pause_after(job.kill_pause);
            job.kill_pause = pause;
            self.timers.add(pause, Timer::KillAgain(serial));
        }
    }

    /// Kills again until the cgroup is seen to be empty, even if the job is recorded as ended by then.
    pub fn kill_again(&mut self, serial: u64) {
        let (cgroup, pause) = match self.jobs.get(serial) {
            Some(job) if job.plan.life.is_empty() => return,
            Some(job) => {
                job.kill_pause = pause_after(job.kill_pause);
                (&job.cgroup, job.kill_pause)
            }
            None => match self.jobs.find::<Stuck>(serial) {
                Some(stuck) => (&stuck.cgroup, AGAIN_MOST),
                None => return,
            },
        };
        if !matches!(cgroup.populated(), Ok(false)) {
            let _ = cgroup.kill();
        }
        self.timers.add(pause, Timer::KillAgain(serial));
    }

    /// Reaps the first process of a job and kills the others.
    pub fn on_job_exited(&mut self, serial: u64) {
        self.read_steps(serial);
        let Some(job) = self.jobs.get(serial) else {
            return self.on_stuck_exited(serial);
        };
        let Some(status) = sys::reap(job.process.pid) else {
            let (pidfd, token) = (&job.process.pidfd, Token::Job(serial));
            let _ = self.reactor.set(pidfd, token, Interest::ReadOnce);
            return;
        };
        job.status = Some(status);
        job.exited = Some(Instant::now());
        let event = match job.cgroup.populated() {
            Ok(false) => Event::ExitedLast,
            Ok(true) | Err(_) => Event::Exited,
        };
        self.follow_life(serial, event);
    }

    fn kill_others(&mut self, serial: u64) {
        let Some(job) = self.jobs.get(serial) else {
            return;
        };
        let events = job.cgroup.events();
        job.cgroup_watched = self
            .reactor
            .add(events, Token::Cgroup(serial), Interest::Change)
            .is_ok();
        self.timers.add(KILL, Timer::Kill(serial));
        self.kill_all(serial);
        // The cgroup may have become empty before it was watched.
        self.on_cgroup_changed(serial);
    }

    pub fn on_cgroup_changed(&mut self, serial: u64) {
        let Some(job) = self.jobs.get(serial) else {
            return self.check_stuck(serial);
        };
        if matches!(job.cgroup.populated(), Ok(false)) {
            self.follow_life(serial, Event::Empty);
        }
    }

    fn await_output(&mut self, serial: u64) {
        let Some(job) = self.jobs.get(serial) else {
            return;
        };
        if std::mem::take(&mut job.cgroup_watched) {
            self.reactor.remove(job.cgroup.events());
        }
        if job.totals.is_some() {
            // The broker has all of its output and waits for no notice.
            self.follow_life(serial, Event::Drained);
        } else {
            self.timers.add(EXITED, Timer::Exited(serial));
        }
    }

    /// Notifies the broker of the exit. It may wait for more output because another process holds the pipes.
    pub fn tell_exited(&mut self, serial: u64) {
        if let Some(job) = self.jobs.get(serial) {
            let job = job.plan.job;
            self.tell(&ToBroker::Exited { job });
            self.timers.add(DRAIN, Timer::Drain(serial));
        }
    }

    pub fn on_drained(&mut self, serial: u64, totals: Totals) {
        let Some(job) = self.jobs.get(serial) else {
            return;
        };
        job.totals = Some(totals);
        match job.plan.life.is_running() {
            // The job most likely ends soon. Work done now does not delay its end.
            true => self.read_steps(serial),
            false => self.follow_life(serial, Event::Drained),
        }
    }

    /// Records the end, then reports it. Both wait if the audit log has no space: no end is reported unrecorded.
    fn record_end(&mut self, serial: u64) {
        fault::point(self, Point::BeforeEnd);
        let Some(job) = self.jobs.get(serial) else {
            return;
        };
        let ending = ending(job);
        let record = end_record(job, &ending);
        let meta = job.ended(ending);
        // After a crash from here on, the next start knows the end and records it again.
        self.ledger.end(job.plan.job, &meta);
        fault::point(self, Point::EndWritten);
        if let Err(why) = self.audit.write(record) {
            say!("the end of job {} waits: {why}", meta.job);
            if let Some(job) = self.jobs.get(serial) {
                follow_end(&mut job.plan.life, Event::LogFull, Action::Wait);
                job.enforced = meta.enforced;
            }
            self.record_later(&why);
            return;
        }
        let Some(mut job) = self.jobs.take::<Job>(serial) else {
            return;
        };
        self.timers.cancel_job(serial);
        let request = job.plan.request.as_ref().map(|(id, _)| id.clone());
        let failed = meta
            .ending
            .as_ref()
            .is_some_and(|ending| ending.exit != Some(0));
        let visibility =
            failed.then(|| Box::new(sandbox::visibility(job.plan.bound.compiled.profile())));
        self.remember(meta, request, visibility);
        match job.plan.life.advance(Event::EndRecorded) {
            Ok(Action::Release) => {
                self.uids.give_back(job.plan.into_draft().uid);
                self.release_ended(job.process, job.cgroup);
            }
            // Without a verified kill, the uid belongs to no other job.
            Ok(_) | Err(_) => self.keep_stuck(serial, job),
        }
    }

    /// Remembers an ended job and may forget older ones. `visibility`: what the profile allowed, if the job ran and
    /// failed.
    pub fn remember(
        &mut self,
        mut meta: JobMeta,
        request: Option<String>,
        visibility: Option<Box<ProfileVisibility>>,
    ) {
        let Some(ending) = meta.ending.take() else {
            return;
        };
        fault::point(self, Point::EndRecorded);
        self.ledger.recorded(meta.job);
        fault::point(self, Point::AfterEnd);
        let message = ToBroker::Ended {
            visibility,
            job: meta.job,
            enforced: meta.enforced.take().map(Box::new),
            ending: Box::new(ending),
        };
        self.tell(&message);
        if let ToBroker::Ended {
            enforced, ending, ..
        } = message
        {
            meta.enforced = enforced.map(|enforced| *enforced);
            meta.ending = Some(*ending);
        }
        self.tell_ended(&meta);
        if let Some(job) = self.jobs.keep(meta, request) {
            self.release_forgotten(job);
        }
    }

    /// Retries a record later. A failed sink is not watched, because it might always be ready.
    pub fn record_later(&mut self, why: &Unwritten) {
        if matches!(why, Unwritten::Later) {
            self.watch_audit();
        }
        if !self.timers.has(Timer::Ends) {
            self.timers.add(RECORD, Timer::Ends);
        }
    }

    pub fn record_waiting_ends(&mut self) {
        for serial in self.jobs.serials() {
            self.follow_life(serial, Event::LogReady);
        }
        self.record_waiting_unrun();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k05_pauses_between_kills_grow_to_a_second() {
        let pauses = std::iter::successors(Some(pause_after(Duration::ZERO)), |pause| {
            Some(pause_after(*pause))
        });
        let pauses: Vec<_> = pauses.take(7).map(|pause| pause.as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1000, 1000]);
    }
}
