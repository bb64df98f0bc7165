//! The event loop. It handles one event at a time and blocks on none.

pub(crate) mod bus;
mod callers;
pub(crate) mod epoll;
pub(crate) mod lifecycle;
pub(crate) mod processes;
mod shutdown;
mod signals;
mod status;
pub(crate) mod timers;

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use remit_common::names::JobId;
use remit_common::outcome::State;
use remit_common::refusal::Refusal;
use remit_link::{Answer, ToBroker, ToWarden};
use remit_plan::Upload;

use crate::admin::history::{on_history_answer, on_history_opened, on_history_timeout};
use crate::admin::watchers::tell_pending;
use crate::approval::end::on_approval_timeout;
use crate::approval::flow::{on_measuring_timeout, read_measured};
use crate::approval::grants::ended::end_grants;
use crate::approval::notification::tell_of_pauses;
use crate::audit::reports::Outcome;
use crate::config::policy_reload;
use crate::event_loop::epoll::Token;
use crate::event_loop::lifecycle::{AdmissionState, Shutdown};
use crate::event_loop::timers::{TURN, Timer};
use crate::identity::arrivals::{Door, close_session, end_session};
use crate::identity::lookups;
use crate::job::backpressure::unpark;
use crate::job::live::Job;
use crate::job::termination::{end_job, follow_life, on_kill_timeout};
use crate::job::{drain, exit, kept_views, life, pipeline, queue, recovery, steps, termination};
use crate::request::access::access;
use crate::request::{copies, upload};
use crate::sandbox::checkup::{on_self_test_event, on_self_test_timeout};
use crate::startup::error::Fatal;
use crate::state::{Warden, job_cx, request_cx};

const MESSAGES: usize = 64;
/// Delay before the cleanup after jobs.
const REST: Duration = Duration::from_millis(10);
/// Jobs that start the cleanup at once. Each holds eight descriptors.
const LEFTOVERS: usize = 16;
/// Output and mount namespaces of ended jobs that are closed at once.
const CLOSED_AT_ONCE: usize = 3 * LEFTOVERS;

impl Warden {
    /// Runs until the daemon has stopped in order. Fails if epoll fails.
    pub fn run_loop(&mut self) -> Result<(), Fatal> {
        loop {
            let is_answering =
                self.life.gate != AdmissionState::Stopping || self.life.is_waiting_for_changes();
            let accepts = self.reports.broker.is_ready() && is_answering;
            self.callers.accept_more(accepts, &self.reactor);
            if let Some((link, interest)) = self.reports.broker.new_interest() {
                self.reactor
                    .set(link, Token::Link, interest)
                    .map_err(Fatal::call("cannot watch the link"))?;
            }
            processes::limit_broker_end(&mut job_cx!(self));
            let wait = self.reactor.timers.next(Instant::now());
            let events = self.reactor.wait(wait).map_err(Fatal::call("epoll_wait"))?;
            for token in events {
                self.event(token)?;
                self.serve_due_admins();
            }
            let now = Instant::now();
            while let Some(timer) = self.reactor.timers.due(now) {
                self.timer(timer)?;
                self.serve_due_admins();
            }
            tell_of_pauses(&mut request_cx!(self));
            pipeline::go_on(&mut request_cx!(self));
            queue::start_all_queued(&mut request_cx!(self));
            recovery::recover_if_due(&mut request_cx!(self));
            recovery::undo_if_due(&mut request_cx!(self));
            shutdown::stop_waiting_for_ended_changes(&mut job_cx!(self), &mut self.life);
            tell_pending(&mut self.admins, &self.jobs);
            self.serve_due_admins();
            self.tell_note();
            self.reports.send_history();
            self.reports.delay_left_out(&mut self.reactor);
            if self.prefork_one() {
                // A job has just started, and nothing else is waited for.
                self.clean_up();
            }
            self.clean_up_soon();
            let done = self.jobs.is_done() && !self.life.is_waiting_for_changes();
            if self.life.leaving || self.life.gate == AdmissionState::Stopping && done {
                self.sandbox.clean_up_all();
                self.clean_up();
                return Ok(());
            }
        }
    }

    fn event(&mut self, token: Token) -> Result<(), Fatal> {
        let cx = &mut job_cx!(self);
        match token {
            Token::Clients => self.accept(Door::Client),
            Token::Admins => self.accept(Door::Admin),
            Token::Admin(number) => self.on_admin_event(number),
            Token::Link => self.on_link_event(),
            Token::Broker => {
                let pause = cx.reports.broker.gone();
                self.on_broker_exited(pause)?;
            }
            Token::Bus => bus::on_exited(cx),
            Token::BusReports => bus::hear(cx),
            Token::Watchdog => processes::on_watchdog_died(cx),
            Token::Spawner => {
                if let Some(why) = processes::on_spawner_died(cx) {
                    self.life.failed = Some(why);
                    self.stop();
                    if self.life.shutdown != Some(Shutdown::Killed) {
                        self.stop();
                    }
                }
            }
            Token::PreparedJob => self.sandbox.pool.reap(),
            Token::Peer(session) => {
                let sessions = &mut self.callers.sessions;
                end_session(sessions, &mut self.reports, &self.reactor, session);
            }
            Token::Job(serial) => exit::on_job_exited(cx, serial),
            Token::Steps(serial) => steps::read_steps(cx, serial),
            Token::Cgroup(serial) => termination::on_cgroup_changed(cx, serial),
            Token::Signals => self.signal(),
            Token::Policy => self.on_policy_readable(),
            Token::SelfTestRun => on_self_test_event(cx),
            Token::Measuring(serial) => read_measured(&mut request_cx!(self), serial),
            Token::LookUp(serial) => {
                if let Some(found) = self.callers.lookups.read(serial) {
                    self.on_looked_up(serial, found);
                }
            }
            Token::Audit => {
                cx.reports.audit.deliver();
                // The end of this turn starts waiting jobs.
                cx.reactor.timers.cancel(Timer::LogFull);
                unpark(&mut request_cx!(self));
                termination::record_waiting_ends(&mut job_cx!(self));
            }
        }
        Ok(())
    }

    fn timer(&mut self, timer: Timer) -> Result<(), Fatal> {
        let cx = &mut job_cx!(self);
        match timer {
            Timer::Runtime(serial) => {
                if let Some(job) = cx.jobs.get(serial) {
                    let text = format!("ended after {}", job.plan.bound.runtime);
                    end_job(cx, serial, State::TimedOut, &text);
                }
            }
            Timer::Steps(serial) => steps::on_steps_timeout(cx, serial),
            Timer::Grace(serial) => follow_life(cx, serial, life::Event::GraceOver),
            Timer::Kill(serial) => on_kill_timeout(cx, serial),
            Timer::KillAgain(serial) => termination::kill_again(cx, serial),
            Timer::Exited(serial) => drain::tell_exited(cx, &self.life, serial),
            Timer::Drain(serial) => drain::on_drain_timeout(cx, &self.life, serial),
            Timer::Parked => unpark(&mut request_cx!(self)),
            Timer::Ends => termination::record_waiting_ends(cx),
            Timer::Leftovers => {
                self.clean_up();
                self.reports.broker.close_dropped();
            }
            Timer::Broker => self.start_broker()?,
            Timer::BrokerEnd => {
                let hung = cx.reports.broker.give_up();
                self.on_broker_hangs(hung)?;
            }
            Timer::BusAnswer => bus::await_answer(cx),
            Timer::Bus => {
                if bus::restart(&mut self.sandbox, &mut self.reactor) {
                    self.sandbox.manager.warm(&self.policies.sandboxes);
                }
            }
            Timer::Ready if cx.reports.broker.is_ready() => {}
            Timer::Ready => cx.reports.broker.kill("it did not become ready"),
            Timer::Policy => self.finish_policy_load(Err(policy_reload::late())),
            Timer::MainThread => cx.reports.broker.check_main_thread(),
            Timer::Watchdog => {
                cx.reports.broker.check_main_thread();
                self.life.pat_watchdog(&mut self.reactor.timers);
            }
            // The end of this turn sends the status, starts waiting jobs, and undoes what nobody confirmed.
            Timer::Note | Timer::Begin | Timer::LogFull | Timer::Unconfirmed => {}
            Timer::SelfTestRun => on_self_test_timeout(cx),
            Timer::Commits => cx.commits.on_day(),
            Timer::KeptViews => kept_views::on_timer(cx),
            Timer::Grants => end_grants(cx, &mut self.approvals.grants),
            Timer::Approval(serial) => on_approval_timeout(cx, serial),
            Timer::Measuring(serial) => on_measuring_timeout(&mut request_cx!(self), serial),
            Timer::LookUp(serial) => self.on_looked_up(serial, Err(lookups::late())),
            Timer::History(question) => on_history_timeout(&mut self.admins, question),
            Timer::LeftOut => self.reports.tell_left_out(&mut self.reactor.timers),
            Timer::Stop => {
                let stop_wait_s = self.settings.config.jobs.stop_wait_s;
                shutdown::on_shutdown_timeout(cx, &mut self.life, stop_wait_s);
            }
            Timer::Extend => self.life.extend_shutdown(&mut self.reactor.timers),
        }
        Ok(())
    }

    fn on_link_event(&mut self) {
        self.reports.broker.flush();
        let start = Instant::now();
        // Bounded for the sake of others: one message may bring two files of a megabyte to hash.
        for _ in 0..MESSAGES {
            let Some((message, fds)) = self.reports.broker.recv() else {
                return;
            };
            self.handle_broker_message(message, fds);
            if start.elapsed() > TURN {
                return;
            }
        }
    }

    fn handle_broker_message(&mut self, message: ToWarden, fds: Vec<OwnedFd>) {
        let (sessions, reports) = (&mut self.callers.sessions, &mut self.reports);
        let timers = &mut self.reactor.timers;
        match message {
            ToWarden::Ready if reports.broker.is_ready() => {
                let why = "it broke the protocol: it reported ready twice";
                reports.broker.kill(why);
            }
            ToWarden::Ready => {
                reports.broker.set_ready();
                timers.cancel(Timer::Ready);
                drain::await_drains(&mut job_cx!(self), &self.life);
                // The first request also finds everything prepared.
                self.fill_prefork_pool();
                self.life.announce(&mut self.reactor.timers);
            }
            ToWarden::Run {
                session,
                ticket,
                spec,
            } => {
                pipeline::run(&mut request_cx!(self), session, ticket, *spec, fds);
            }
            ToWarden::Access {
                session,
                ticket,
                access: asked,
            } => {
                let reply = access(&request_cx!(self), session, &asked).map(Outcome::Answered);
                let sessions = &self.callers.sessions;
                self.reports.reply(sessions, (session, ticket), None, reply);
            }
            ToWarden::Upload {
                session,
                ticket,
                sha256,
                size,
            } => {
                let upload = Upload { sha256, size };
                let reply = upload::begin(&mut request_cx!(self), session, upload);
                let (sessions, reply) = (&self.callers.sessions, reply.map(Outcome::Answered));
                self.reports.reply(sessions, (session, ticket), None, reply);
            }
            ToWarden::Stop {
                session,
                ticket,
                job,
                signal,
            } => {
                let reply = self.stop_request(session, job, signal);
                let sessions = &self.callers.sessions;
                self.reports.reply(sessions, (session, ticket), None, reply);
            }
            ToWarden::DropCopy {
                session,
                ticket,
                job,
            } => {
                let reply = copies::drop_own(&mut request_cx!(self), session, job);
                let (sessions, reply) = (&self.callers.sessions, reply.map(Outcome::Answered));
                self.reports.reply(sessions, (session, ticket), None, reply);
            }
            ToWarden::Refused { session, refusal } => {
                reports.record_broker_refusal(sessions, session, &refusal);
            }
            ToWarden::MoreRefused {
                session,
                code,
                count,
            } => reports.count_broker_refusals(sessions, session, (code, count)),
            ToWarden::Drained { job, totals } => {
                if let Some(serial) = self.jobs.serial(job) {
                    drain::on_drained(&mut job_cx!(self), serial, totals);
                }
            }
            ToWarden::OverLimit { job } => {
                let serial = self.jobs.serial(job);
                let ends = |serial: &u64| {
                    let job = self.jobs.find::<Job>(*serial);
                    job.is_some_and(|job| job.plan.may_be_over_limit())
                };
                if let Some(serial) = serial.filter(ends) {
                    let kept = self.settings.config.output.per_job;
                    let text =
                        format!("it wrote more than {kept} bytes of output (output.per_job)");
                    end_job(&mut job_cx!(self), serial, State::OutputLimit, &text);
                }
            }
            ToWarden::Closed { session } => close_session(sessions, &self.reactor, session),
            ToWarden::HistoryOpened { newest } => on_history_opened(&self.admins, reports, newest),
            ToWarden::HistoryStored { seq } => reports.audit.history.forget_stored(seq),
            ToWarden::HistoryAnswer { question, page } => {
                let page = page.map(|page| *page);
                on_history_answer(&mut self.admins, timers, question, page);
            }
        }
    }

    fn stop_request(
        &mut self,
        session: u64,
        job: JobId,
        signal: Option<i32>,
    ) -> Result<Outcome, Refusal> {
        let owner = self.callers.sessions.subject(session)?.owner();
        if !self.jobs.owned(job, &owner) {
            return Err(Refusal::no_such_job());
        }
        termination::stop_job(&mut job_cx!(self), job, signal, "stopped by its owner")?;
        Ok(Outcome::Answered(Answer::Stopping(job)))
    }

    pub fn start_broker(&mut self) -> Result<(), Fatal> {
        let (announced, config) = (self.life.announced, &self.settings.config);
        processes::start_broker(&mut job_cx!(self), announced, config)
    }

    /// Prepares a ledger slot and one part of a job. Returns false if nothing is left. If nothing may run, drops all.
    fn prefork_one(&mut self) -> bool {
        if !self.life.is_open() {
            self.sandbox.drop_prefork_pool();
            return false;
        }
        if !self.reports.broker.is_ready() {
            return false;
        }
        // If this fails, the next request does it.
        self.ledger.allocate();
        self.sandbox.prefork_one(&self.reactor)
    }

    /// Prepares everything and waits for the result, when a broker becomes ready.
    fn fill_prefork_pool(&mut self) {
        if self.sandbox.pool.wants_nothing() {
            self.sandbox.pool.want_default(&self.policies.sandboxes);
        }
        while self.prefork_one() {}
        self.sandbox.pool.wait_ready();
    }

    fn clean_up_soon(&mut self) {
        let leftovers = &self.sandbox.leftovers;
        let ended = leftovers.ended().max(self.jobs.forgotten.len());
        if ended >= LEFTOVERS {
            self.clean_up();
        }
        if self.reports.broker.dropped() >= CLOSED_AT_ONCE {
            self.reports.broker.close_dropped();
        }
        let leftovers = &self.sandbox.leftovers;
        let is_left = !leftovers.is_empty()
            || !self.jobs.forgotten.is_empty()
            || self.reports.broker.dropped() > 0;
        if is_left && !self.reactor.timers.has(Timer::Leftovers) {
            self.reactor.timers.add(REST, Timer::Leftovers);
        }
    }

    fn clean_up(&mut self) {
        self.sandbox.clean_up();
        for job in std::mem::take(&mut self.jobs.forgotten) {
            self.ledger.forget(job);
            self.reports.tell(&ToBroker::Forgotten { job });
        }
    }
}
