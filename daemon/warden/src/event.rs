//! The loop: one event at a time, none of them waited for.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use remit_common::outcome::State;
use remit_common::refusal::Refusal;
use remit_link::{Answer, ToBroker, ToWarden};

use crate::audit::{Event, Record};
use crate::clock::Timer;
use crate::error::Fatal;
use crate::jobs;
use crate::pipeline;
use crate::reactor::{Interest, Token};
use crate::warden::{Gate, Warden};

/// For a broker to confine itself and say that it is ready.
const READY: Duration = Duration::from_secs(10);
/// Before a broker that could not be started is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Messages of the broker's in one turn.
const MESSAGES: usize = 64;
/// After how long in a turn no further message, and no further job that waited, is begun.
pub const TURN: Duration = Duration::from_millis(10);

impl Warden {
    /// Turns until the daemon has stopped in order.
    ///
    /// # Errors
    /// epoll itself fails.
    pub fn turn(&mut self) -> Result<(), Fatal> {
        loop {
            let answers = self.gate != Gate::Stopping || self.waits_for_changes();
            self.accept_more(self.broker.is_ready() && answers);
            if let Some((link, interest)) = self.broker.new_interest() {
                self.reactor
                    .set(link, Token::Link, interest)
                    .map_err(Fatal::call("cannot watch the link"))?;
            }
            let wait = self.timers.next(Instant::now());
            let events = self.reactor.wait(wait).map_err(Fatal::call("epoll_wait"))?;
            for token in events {
                self.event(token)?;
            }
            let now = Instant::now();
            while let Some(timer) = self.timers.due(now) {
                self.timer(timer)?;
            }
            self.begin_waiting();
            self.tell_pending();
            self.tell_note();
            self.audit.history.keep();
            if self.make_ahead() {
                // A job has just begun, and nobody waits for anything else.
                self.put_away();
            }
            let done = self.jobs.is_empty() && self.queue.is_done() && self.approvals.is_done();
            if self.leaving || self.gate == Gate::Stopping && done {
                self.put_all_away();
                return Ok(());
            }
        }
    }

    fn event(&mut self, token: Token) -> Result<(), Fatal> {
        match token {
            Token::Clients => self.accept_clients(),
            Token::Admins => self.accept_admins(),
            Token::Admin(number) => self.admin_event(number),
            Token::Link => self.link_event(),
            Token::Broker => self.broker_gone()?,
            Token::Keeper => self.keeper_gone(),
            Token::Ahead => self.reap_ahead(),
            Token::Peer(session) => {
                self.end_session(session);
            }
            Token::Job(serial) => self.job_exited(serial),
            Token::Steps(serial) => self.read_steps(serial),
            Token::Cgroup(serial) => self.cgroup_changed(serial),
            Token::Signals => self.signal(),
            Token::Policy => self.policy_read(),
            Token::Trial => self.trial_event(),
            Token::Measuring(serial) => self.measured(serial),
            Token::LookUp(serial) => self.look_up_read(serial),
            Token::History(serial) => self.history_read(serial),
            Token::Audit => {
                self.unpark();
                self.record_waiting_ends();
            }
        }
        Ok(())
    }

    fn timer(&mut self, timer: Timer) -> Result<(), Fatal> {
        match timer {
            Timer::Runtime(serial) => {
                if let Some(job) = self.jobs.get(serial) {
                    let text = format!("ended after {}", job.plan.bound.runtime);
                    self.end_job(serial, State::TimedOut, &text);
                }
            }
            Timer::Steps(serial) => self.steps_late(serial),
            Timer::Grace(serial) => self.grace_over(serial),
            Timer::Kill(serial) => self.kill_late(serial),
            Timer::Exited(serial) => self.tell_exited(serial),
            Timer::Drain(serial) => self.drain_late(serial),
            Timer::Parked => self.unpark(),
            Timer::Ends => self.record_waiting_ends(),
            Timer::Leftovers => self.put_away(),
            Timer::Broker => self.start_broker()?,
            Timer::Ready if self.broker.is_ready() => {}
            Timer::Ready => self.broker.kill("it does not get ready"),
            Timer::Policy => self.policy_late(),
            Timer::Watchdog => self.pat_watchdog(),
            // What is new by now is told, and what waits begun, at the end of this turn.
            Timer::Note | Timer::Begin => {}
            Timer::Trial => self.trial_late(),
            Timer::Grants => self.end_grants(),
            Timer::Approval(serial) => self.approval_late(serial),
            Timer::Measuring(serial) => self.measuring_late(serial),
            Timer::LookUp(serial) => self.look_up_late(serial),
            Timer::History(serial) => self.history_late(serial),
            Timer::LeftOut => self.tell_left_out(),
            Timer::Stop => self.shutdown_late(),
            Timer::Extend => self.extend_shutdown(),
        }
        Ok(())
    }

    fn link_event(&mut self) {
        self.broker.flush();
        let start = Instant::now();
        // Bounded, so that a busy broker does not keep others waiting: one message may be
        // two files of a megabyte to hash.
        for _ in 0..MESSAGES {
            let Some((message, fds)) = self.broker.recv() else {
                return;
            };
            self.broker_says(message, fds);
            if start.elapsed() > TURN {
                return;
            }
        }
    }

    fn broker_says(&mut self, message: ToWarden, fds: Vec<OwnedFd>) {
        match message {
            ToWarden::Ready if self.broker.is_ready() => {
                self.broker
                    .kill("it broke the protocol: it was ready already");
            }
            ToWarden::Ready => {
                self.broker.set_ready();
                self.timers.cancel(Timer::Ready);
                // The first who asks finds all of it, too.
                self.settle_ahead();
                self.announce();
            }
            ToWarden::Run {
                session,
                ticket,
                spec,
            } => {
                let told = pipeline::run(self, session, ticket, *spec, fds);
                self.told(session, ticket, told);
            }
            ToWarden::Access {
                session,
                ticket,
                access,
            } => {
                let answer = self.access(session, &access);
                self.answer(session, ticket, answer);
            }
            ToWarden::History {
                session,
                ticket,
                query,
            } => self.history(session, ticket, &query),
            ToWarden::Stop {
                session,
                ticket,
                job,
                signal,
            } => {
                let answer = self.stop_request(session, job, signal);
                self.answer(session, ticket, answer);
            }
            ToWarden::Refused { session, refusal } => {
                self.record_told(session, &refusal);
            }
            ToWarden::Drained { job, totals } => {
                if let Some(serial) = self.jobs.serial(job) {
                    self.drained(serial, totals);
                }
            }
            ToWarden::OverLimit { job } => {
                if let Some(serial) = self.jobs.serial(job) {
                    let kept = self.config.output.per_job;
                    let text =
                        format!("it wrote more than {kept} bytes of output (output.per_job)");
                    self.end_job(serial, State::OutputLimit, &text);
                }
            }
            ToWarden::Closed { session } => self.close_session(session),
        }
    }

    fn stop_request(
        &mut self,
        session: u64,
        job: remit_common::names::JobId,
        signal: Option<i32>,
    ) -> Result<Answer, Refusal> {
        let subject = self.subject(session)?;
        let owner = subject.owner();
        let waits = self.queue.get(job);
        let own = waits.is_some_and(|w| w.plan.requester.subject.owner() == owner)
            || self.approvals.owned(job, &owner)
            || self.jobs.owned(job, &owner);
        if !own {
            return Err(Refusal::no_such_job());
        }
        self.stop_job(job, signal, "stopped by its owner")?;
        Ok(Answer::Stopping(job))
    }

    fn broker_gone(&mut self) -> Result<(), Fatal> {
        let Some(wait) = self.broker.gone() else {
            return Ok(());
        };
        self.timers.cancel(Timer::Ready);
        self.drop_parked();
        self.drop_measured();
        self.drop_uses();
        for session in self.sessions.close_all() {
            self.reactor.remove(session.pidfd());
        }
        self.audit.note(Record::new(
            Event::Broker,
            "the broker died; its clients have to connect again, jobs go on",
        ));
        if wait.is_zero() {
            return self.start_broker();
        }
        self.timers.add(wait, Timer::Broker);
        Ok(())
    }

    /// Starts a broker and hands it every job that lives or is remembered.
    ///
    /// # Errors
    /// None can be started, and none ever was. Later it is tried again: jobs go on.
    pub fn start_broker(&mut self) -> Result<(), Fatal> {
        match self.broker.start() {
            Ok(()) => self.timers.add(READY, Timer::Ready),
            Err(error) if self.announced => {
                say_error!("{error}");
                self.timers.add(AGAIN, Timer::Broker);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let Some((link, pidfd)) = self.broker.fds() else {
            return Ok(());
        };
        let watch = Fatal::call("cannot watch the broker");
        self.reactor
            .add(link, Token::Link, Interest::Read)
            .and_then(|()| self.reactor.add(pidfd, Token::Broker, Interest::Read))
            .map_err(watch)?;
        if let Some(socket) = self.walls.kernel_audit().socket() {
            let jobs = &self.config.jobs;
            let message = ToBroker::KernelAudit {
                uid_first: jobs.uid_first,
                uid_count: jobs.uid_count,
            };
            self.broker.send(&message, &[socket.as_fd()]);
        }
        // The secrets of what has ended are nowhere any more.
        let ended = self.jobs.ended_whole().map(|meta| (meta, Vec::new()));
        let waiting = self.queue.iter().map(|w| (w.meta(), w.plan.secrets()));
        for (meta, secrets) in ended.chain(waiting).chain(self.approvals.with_secrets()) {
            let message = ToBroker::Job {
                secrets,
                ticket: None,
                meta: Box::new(meta),
            };
            self.broker.send(&message, &[]);
        }
        for (_, job) in self.jobs.live() {
            let meta = Box::new(job.meta());
            let fds = jobs::output(&job.process).map(AsFd::as_fd);
            self.broker.send(
                &ToBroker::Job {
                    secrets: job.plan.secrets(),
                    ticket: None,
                    meta,
                },
                &fds,
            );
            if matches!(job.phase, jobs::Phase::Draining | jobs::Phase::Recording) {
                let job = job.plan.job;
                self.broker.send(&ToBroker::Exited { job }, &[]);
            }
        }
        self.broker.send(&ToBroker::Adopted, &[]);
        Ok(())
    }

    /// Watches the keeper, where there is one.
    ///
    /// # Errors
    /// epoll refuses it.
    pub fn watch_keeper(&self) -> Result<(), Fatal> {
        let Some(keeper) = self.walls.keeper() else {
            return Ok(());
        };
        self.reactor
            .add(keeper.pidfd(), Token::Keeper, Interest::Read)
            .map_err(Fatal::call("cannot watch the keeper"))
    }

    fn keeper_gone(&mut self) {
        // Nothing runs that two others would not end if this process died, too.
        self.walls.end_jobs();
        say_error!("the keeper died, and all jobs are ended");
        if let Some(keeper) = self.walls.keeper() {
            self.reactor.remove(keeper.pidfd());
        }
        self.drop_ahead();
        // One that could not be started is not watched: the old one's end would be told for ever.
        let renewed = self.walls.renew_keeper();
        if renewed && let Err(error) = self.watch_keeper() {
            self.walls.give_up(&error.to_string());
        }
        let why = self.walls.refused().unwrap_or_default();
        let verdict = match self.walls.are_untried() {
            true => "untried",
            false => "refused",
        };
        let message = format!("the keeper died, and nothing runs in {why}");
        let record = Record::new(Event::Walls, message)
            .grave()
            .field("VERDICT", verdict);
        self.audit.note(record.field("CAUSE", &why));
        for serial in self.jobs.serials() {
            self.end_job(serial, State::Interrupted, "the keeper of the jobs died");
        }
        if renewed {
            self.try_anew();
        }
    }
}
