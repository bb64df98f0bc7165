//! How jobs end: asked to, killed, reaped, verified empty, drained, recorded, told.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use remit_common::denial::Sight;
use remit_common::names::JobId;
use remit_common::outcome::State;
use remit_common::refusal::{Code, Refusal};
use remit_confine::floor;
use remit_link::{JobMeta, ToBroker, Totals};

use crate::audit::Unwritten;
use crate::clock::Timer;
use crate::error::chain;
use crate::fault::{self, Point};
use crate::jobs::Phase;
use crate::outcome::{end_record, ending, unrun_record};
use crate::plan::Plan;
use crate::reactor::{Interest, Token};
use crate::walls;
use crate::warden::Warden;

/// Between the first signal of a stop and the kill.
const GRACE: Duration = Duration::from_secs(5);
/// For the kernel to end what was killed, first the first process, then the others; longer
/// means stuck in a system call.
const KILL_FIRST: Duration = Duration::from_secs(5);
const KILL: Duration = Duration::from_secs(2);
/// For the broker to find the pipes at their end by itself. Most are, and it is woken once less for them.
const EXITED: Duration = Duration::from_millis(10);
/// For the broker to read what is left in the pipes, once it was told.
const DRAIN: Duration = Duration::from_secs(5);
/// Before a record that found no room is tried again.
const RECORD: Duration = Duration::from_secs(1);

/// The last of the real-time signals on Linux, signal(7).
const LAST_SIGNAL: i32 = 64;

impl Warden {
    /// Ends a job that somebody wants stopped. One that has ended already is as good.
    ///
    /// # Errors
    /// `invalid_args`: there is no such signal.
    pub fn stop_job(
        &mut self,
        job: JobId,
        signal: Option<i32>,
        cause: &str,
    ) -> Result<(), Refusal> {
        let signal = signal.unwrap_or(libc::SIGTERM);
        if !(1..=LAST_SIGNAL).contains(&signal) {
            let text = format!("{signal} is no signal");
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

    /// Asks a job to end, by a signal to its process group; after a grace it is killed.
    pub fn ask_to_end(&mut self, serial: u64, signal: i32, state: State, cause: &str) {
        let Some(job) = self.jobs.get(serial) else {
            return;
        };
        // One that has just ended by itself was not stopped: its end is about to be heard of.
        if matches!(floor::pidfd_alive(job.process.pidfd.as_fd()), Ok(false)) {
            return;
        }
        // Asked again, it has no more time than it had.
        let first = job.stop.is_none();
        job.stop(state, cause);
        // To its whole group, as a terminal does: a shell waits for its child before it heeds some
        // signals. Before there is a group, to the process; one that has just ended needs none.
        if floor::signal_group(job.process.pid, signal).is_err() {
            let _ = floor::pidfd_send_signal(&job.process.pidfd, signal);
        }
        if first {
            self.timers.add(GRACE, Timer::Grace(serial));
        }
    }

    /// Kills a job and everything it started.
    pub fn end_job(&mut self, serial: u64, state: State, cause: &str) {
        let Some(job) = self.jobs.get(serial) else {
            return;
        };
        job.stop(state, cause);
        if matches!(job.phase, Phase::Running | Phase::Emptying) {
            self.kill_all(serial);
        }
    }

    /// A job that was asked to end has had its grace.
    pub fn grace_over(&mut self, serial: u64) {
        let running = self
            .jobs
            .get(serial)
            .is_some_and(|job| matches!(job.phase, Phase::Running));
        if running {
            self.kill_all(serial);
        }
    }

    /// Kills every process of a job, by its cgroup.
    fn kill_all(&mut self, serial: u64) {
        let Some(job) = self.jobs.get(serial) else {
            return;
        };
        if let Err(error) = job.cgroup.kill() {
            say_error!("cannot end job {}: {}", job.plan.job, chain(&error));
        }
        // Whatever it is in, the first process must not wait for its cgroup.
        let _ = floor::pidfd_send_signal(&job.process.pidfd, libc::SIGKILL);
        // Killed again, it has no more time than it had.
        if !self.timers.has(Timer::Kill(serial)) {
            self.timers.add(KILL_FIRST, Timer::Kill(serial));
        }
    }

    /// A job's first process has ended: reap it and end the others.
    pub fn job_exited(&mut self, serial: u64) {
        self.read_steps(serial);
        let Some(job) = self.jobs.get(serial) else {
            return self.stuck_exited(serial);
        };
        let Some(status) = floor::reap(job.process.pid) else {
            // It is told again.
            let (pidfd, token) = (&job.process.pidfd, Token::Job(serial));
            let _ = self.reactor.set(pidfd, token, Interest::ReadOnce);
            return;
        };
        job.status = Some(status);
        job.exited = Some(Instant::now());
        if !matches!(job.phase, Phase::Running) {
            // It was stuck, and is being recorded as that.
            return;
        }
        job.phase = Phase::Emptying;
        if matches!(job.cgroup.populated(), Ok(false)) {
            return self.emptied(serial, true);
        }
        let events = job.cgroup.events();
        job.cgroup_watched = self
            .reactor
            .add(events, Token::Cgroup(serial), Interest::Change)
            .is_ok();
        self.timers.add(KILL, Timer::Kill(serial));
        self.kill_all(serial);
        // It may have become empty before it was watched.
        self.cgroup_changed(serial);
    }

    /// A job's cgroup may have become empty.
    pub fn cgroup_changed(&mut self, serial: u64) {
        let Some(job) = self.jobs.get(serial) else {
            return self.stuck_moved(serial);
        };
        let empty = matches!(job.cgroup.populated(), Ok(false));
        if empty && matches!(job.phase, Phase::Emptying) {
            self.emptied(serial, true);
        }
    }

    /// The kernel has had its time to end a job's processes.
    pub fn kill_late(&mut self, serial: u64) {
        let stuck = self
            .jobs
            .get(serial)
            .is_some_and(|job| matches!(job.phase, Phase::Running | Phase::Emptying));
        if stuck {
            self.emptied(serial, false);
        }
    }

    fn emptied(&mut self, serial: u64, verified: bool) {
        let Some(job) = self.jobs.get(serial) else {
            return;
        };
        job.empty = verified;
        job.phase = Phase::Draining;
        if std::mem::take(&mut job.cgroup_watched) {
            self.reactor.remove(job.cgroup.events());
        }
        if job.totals.is_some() {
            // The broker has all of its output, and waits for no end.
            self.record_end(serial);
        } else {
            self.timers.add(EXITED, Timer::Exited(serial));
        }
    }

    /// The broker may wait for more output of a job that has exited: somebody else holds its pipes.
    pub fn tell_exited(&mut self, serial: u64) {
        if let Some(job) = self.jobs.get(serial) {
            let job = job.plan.job;
            self.tell(&ToBroker::Exited { job });
            self.timers.add(DRAIN, Timer::Drain(serial));
        }
    }

    /// The broker has all output of a job, maybe before the job is known to have ended.
    pub fn drained(&mut self, serial: u64, totals: Totals) {
        let Some(job) = self.jobs.get(serial) else {
            return;
        };
        job.totals = Some(totals);
        match job.phase {
            Phase::Draining => self.record_end(serial),
            // It is about to end, most likely, and what is done now is not waited for then.
            Phase::Running => self.read_steps(serial),
            Phase::Emptying | Phase::Recording => {}
        }
    }

    /// The broker has had its time; the record goes without the output's numbers.
    pub fn drain_late(&mut self, serial: u64) {
        let late = self
            .jobs
            .get(serial)
            .is_some_and(|job| matches!(job.phase, Phase::Draining));
        if late {
            self.record_end(serial);
        }
    }

    /// Records the end and tells it. Without room in the trail it waits: an
    /// end that is not recorded is not told.
    fn record_end(&mut self, serial: u64) {
        fault::point(self, Point::BeforeEnd);
        let Some(job) = self.jobs.get(serial) else {
            return;
        };
        let ending = ending(job);
        let record = end_record(job, &ending);
        let meta = job.ended(ending);
        // A start after a crash from here on knows that it ended, and records that again.
        self.ledger.end(job.plan.job, &meta);
        fault::point(self, Point::EndNoted);
        if let Err(why) = self.audit.write(record) {
            say!("the end of job {} waits: {why}", meta.job);
            if let Some(job) = self.jobs.get(serial) {
                job.phase = Phase::Recording;
                job.enforced = meta.enforced;
            }
            self.record_later(&why);
            return;
        }
        let Some(job) = self.jobs.take(serial) else {
            return;
        };
        self.timers.cancel_job(serial);
        let request = job.plan.request.as_ref().map(|(id, _)| id.clone());
        let failed = meta
            .ending
            .as_ref()
            .is_some_and(|ending| ending.exit != Some(0));
        let sight = failed.then(|| Box::new(walls::sight(job.plan.bound.compiled.profile())));
        self.remember(meta, request, sight);
        if !job.empty {
            self.keep_stuck(serial, job);
            return;
        }
        self.uids.give_back(job.plan.into_draft().uid);
        self.leave(job.process, job.cgroup);
    }

    /// Remembers a job whose end is recorded, and tells who waits for it. Older ones may be forgotten.
    /// `sight` is what its profile let it do, where it ran and failed.
    pub fn remember(
        &mut self,
        mut meta: JobMeta,
        request: Option<String>,
        sight: Option<Box<Sight>>,
    ) {
        let Some(ending) = meta.ending.take() else {
            return;
        };
        fault::point(self, Point::EndRecorded);
        self.ledger.recorded(meta.job);
        fault::point(self, Point::AfterEnd);
        // Whoever is told of an end finds it in the history, whatever becomes of this process.
        self.audit.history.keep();
        let message = ToBroker::Ended {
            sight,
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
            self.leave_forgotten(job);
        }
    }

    /// A job that was recorded could not be forked: its end is recorded, and the caller is refused.
    pub fn not_forked(&mut self, plan: Box<Plan>, error: &remit_confine::Error) -> Refusal {
        let cause = format!("{}; nothing ran", chain(error));
        let record = unrun_record(&plan, State::NotStarted, &cause);
        match self.audit.write(record) {
            Ok(()) => self.drop_plan(plan),
            // The ledger keeps it: the next start records its end.
            Err(why) => {
                say!("the end of job {} is not recorded: {why}", plan.job);
                let draft = plan.into_draft();
                self.undo(draft.ready, draft.uid);
            }
        }
        Refusal::new(Code::NotStarted, cause)
    }

    /// A record found no room: there is another try when there is some, or after a while. What has
    /// failed is not watched: it might be ready for ever.
    pub fn record_later(&mut self, why: &Unwritten) {
        if matches!(why, Unwritten::Later) {
            self.watch_audit();
        }
        if !self.timers.has(Timer::Ends) {
            self.timers.add(RECORD, Timer::Ends);
        }
    }

    /// Ends whose records found no room are tried again.
    pub fn record_waiting_ends(&mut self) {
        let waiting = self
            .jobs
            .live()
            .filter(|(_, job)| matches!(job.phase, Phase::Recording));
        let waiting: Vec<u64> = waiting.map(|(serial, _)| serial).collect();
        for serial in waiting {
            self.record_end(serial);
        }
        self.record_waiting_unrun();
        self.record_requests_over();
    }
}
