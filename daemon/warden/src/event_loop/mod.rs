//! The event loop. It handles one event at a time and blocks on none.

pub(crate) mod epoll;
pub(crate) mod shutdown;
pub(crate) mod signals;
pub(crate) mod timers;

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use remit_common::outcome::State;
use remit_common::refusal::Refusal;
use remit_link::{Answer, ToBroker, ToWarden};

use crate::approval::Request;
use crate::audit::{Event, Record};
use crate::event_loop::epoll::{Interest, Token};
use crate::event_loop::shutdown::Shutdown;
use crate::event_loop::timers::Timer;
use crate::job::{life, pipeline, table};
use crate::startup::error::Fatal;
use crate::state::{AdmissionState, Warden};

/// Timeout for a broker to confine itself and report that it is ready.
const READY: Duration = Duration::from_secs(10);
/// Pause before a failed start of the broker is retried.
const AGAIN: Duration = Duration::from_secs(1);

const MESSAGES: usize = 64;
/// After this time in a turn, no further message is handled and no waiting job is started.
pub const TURN: Duration = Duration::from_millis(10);

impl Warden {
    /// Runs until the daemon has stopped in order. Fails if epoll fails.
    pub fn run_loop(&mut self) -> Result<(), Fatal> {
        loop {
            let answers = self.gate != AdmissionState::Stopping || self.is_waiting_for_changes();
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
            self.start_all_queued();
            self.tell_pending();
            self.tell_note();
            self.send_history();
            if self.prefork_one() {
                // A job has just started, and nothing else is waited for.
                self.clean_up();
            }
            self.broker.close_dropped();
            let done = self.jobs.is_done();
            if self.leaving || self.gate == AdmissionState::Stopping && done {
                self.clean_up_all();
                return Ok(());
            }
        }
    }

    fn event(&mut self, token: Token) -> Result<(), Fatal> {
        match token {
            Token::Clients => self.accept_clients(),
            Token::Admins => self.accept_admins(),
            Token::Admin(number) => self.on_admin_event(number),
            Token::Link => self.on_link_event(),
            Token::Broker => self.on_broker_exited()?,
            Token::Watchdog => self.on_watchdog_died(),
            Token::Spawner => self.on_spawner_died(),
            Token::PreparedJob => self.reap_prefork_pool(),
            Token::Peer(session) => {
                self.end_session(session);
            }
            Token::Job(serial) => self.on_job_exited(serial),
            Token::Steps(serial) => self.read_steps(serial),
            Token::Cgroup(serial) => self.on_cgroup_changed(serial),
            Token::Signals => self.signal(),
            Token::Policy => self.on_policy_readable(),
            Token::SelfTestRun => self.on_self_test_event(),
            Token::Measuring(serial) => self.read_measured(serial),
            Token::LookUp(serial) => self.on_look_up_readable(serial),
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
            Timer::Steps(serial) => self.on_steps_timeout(serial),
            Timer::Grace(serial) => self.follow_life(serial, life::Event::GraceOver),
            Timer::Kill(serial) => self.follow_life(serial, life::Event::KillTimeout),
            Timer::KillAgain(serial) => self.kill_again(serial),
            Timer::Exited(serial) => self.tell_exited(serial),
            Timer::Drain(serial) => self.follow_life(serial, life::Event::Drained),
            Timer::Parked => self.unpark(),
            Timer::Ends => self.record_waiting_ends(),
            Timer::Leftovers => self.clean_up(),
            Timer::Broker => self.start_broker()?,
            Timer::Ready if self.broker.is_ready() => {}
            Timer::Ready => self.broker.kill("it did not become ready"),
            Timer::Policy => self.on_policy_timeout(),
            Timer::Watchdog => self.pat_watchdog(),
            // The end of this turn sends the status and starts waiting jobs.
            Timer::Note | Timer::Begin => {}
            Timer::SelfTestRun => self.on_self_test_timeout(),
            Timer::Grants => self.end_grants(),
            Timer::Approval(serial) => self.on_approval_timeout(serial),
            Timer::Measuring(serial) => self.on_measuring_timeout(serial),
            Timer::LookUp(serial) => self.on_look_up_timeout(serial),
            Timer::History(serial) => self.on_history_timeout(serial),
            Timer::LeftOut => self.tell_left_out(),
            Timer::Stop => self.on_shutdown_timeout(),
            Timer::Extend => self.extend_shutdown(),
        }
        Ok(())
    }

    fn on_link_event(&mut self) {
        self.broker.flush();
        let start = Instant::now();
        // Bounded for the sake of others: one message may bring two files of a megabyte to hash.
        for _ in 0..MESSAGES {
            let Some((message, fds)) = self.broker.recv() else {
                return;
            };
            self.handle_broker_message(message, fds);
            if start.elapsed() > TURN {
                return;
            }
        }
    }

    fn handle_broker_message(&mut self, message: ToWarden, fds: Vec<OwnedFd>) {
        match message {
            ToWarden::Ready if self.broker.is_ready() => {
                self.broker
                    .kill("it broke the protocol: it reported ready twice");
            }
            ToWarden::Ready => {
                self.broker.set_ready();
                self.timers.cancel(Timer::Ready);
                // The first request also finds everything prepared.
                self.fill_prefork_pool();
                self.announce();
            }
            ToWarden::Run {
                session,
                ticket,
                spec,
            } => {
                let reply = pipeline::run(self, session, ticket, *spec, fds);
                self.reply(session, ticket, reply);
            }
            ToWarden::Access {
                session,
                ticket,
                access,
            } => {
                let answer = self.access(session, &access);
                self.answer(session, ticket, answer);
            }
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
                self.record_broker_refusal(session, &refusal);
            }
            ToWarden::Drained { job, totals } => {
                if let Some(serial) = self.jobs.serial(job) {
                    self.on_drained(serial, totals);
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
            ToWarden::HistoryOpened { newest } => self.on_history_opened(newest),
            ToWarden::HistoryStored { seq } => self.audit.history.forget_stored(seq),
            ToWarden::HistoryAnswer { question, page } => {
                self.on_history_answer(question, page.map(|page| *page));
            }
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
        if !self.jobs.owned(job, &owner) {
            return Err(Refusal::no_such_job());
        }
        self.stop_job(job, signal, "stopped by its owner")?;
        Ok(Answer::Stopping(job))
    }

    fn on_broker_exited(&mut self) -> Result<(), Fatal> {
        let Some(wait) = self.broker.gone() else {
            return Ok(());
        };
        self.timers.cancel(Timer::Ready);
        self.audit.history.close();
        self.drop_parked();
        self.drop_measured();
        self.drop_uses();
        for session in self.sessions.close_all() {
            self.reactor.remove(session.pidfd());
        }
        self.audit.note(Record::new(
            Event::Broker,
            "the broker died; its clients have to reconnect, jobs keep running",
        ));
        if wait.is_zero() {
            return self.start_broker();
        }
        self.timers.add(wait, Timer::Broker);
        Ok(())
    }

    /// Starts a broker and sends it all known jobs. Only the first start may fail. Later ones are retried.
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
        if let Some(socket) = self.sandbox.kernel_audit().socket() {
            let jobs = &self.config.jobs;
            let message = ToBroker::KernelAudit {
                uid_first: jobs.uid_first,
                uid_count: jobs.uid_count,
            };
            self.broker.send(&message, &[socket.as_fd()]);
        }
        // Secrets of ended jobs are not kept anywhere.
        let ended = self.jobs.ended_whole().map(|meta| (meta, Vec::new()));
        let never_ran = self.jobs.never_ran().cloned();
        let ended = ended.chain(never_ran.map(|meta| (meta, Vec::new())));
        let waiting = self.jobs.waiting();
        let waiting = waiting.map(|waiting| (waiting.meta(), waiting.plan.secrets()));
        let asked = self.jobs.all::<Request>();
        let asked = asked.map(|(_, request)| (request.meta(), request.draft.secrets()));
        for (meta, secrets) in ended.chain(waiting).chain(asked) {
            let message = ToBroker::Job {
                secrets,
                ticket: None,
                meta: Box::new(meta),
            };
            self.broker.send(&message, &[]);
        }
        for (_, job) in self.jobs.live() {
            let meta = Box::new(job.meta());
            let fds = table::output(&job.process).map(AsFd::as_fd);
            self.broker.send(
                &ToBroker::Job {
                    secrets: job.plan.secrets(),
                    ticket: None,
                    meta,
                },
                &fds,
            );
            if job.plan.life.has_exited() {
                let job = job.plan.job;
                self.broker.send(&ToBroker::Exited { job }, &[]);
            }
        }
        self.broker.send(&ToBroker::Adopted, &[]);
        Ok(())
    }

    pub fn observe_watchdog(&self) -> Result<(), Fatal> {
        let Some(watchdog) = self.sandbox.watchdog() else {
            return Ok(());
        };
        self.reactor
            .add(watchdog.pidfd(), Token::Watchdog, Interest::Read)
            .map_err(Fatal::call("cannot wait for the watchdog"))
    }

    pub fn observe_spawner(&self) -> Result<(), Fatal> {
        let Some(spawner) = self.sandbox.spawner() else {
            return Ok(());
        };
        self.reactor
            .add(spawner.pidfd(), Token::Spawner, Interest::Read)
            .map_err(Fatal::call("cannot wait for remit-spawner"))
    }

    /// Ends all jobs and then the daemon: the service manager starts both again.
    fn on_spawner_died(&mut self) {
        let Some(spawner) = self.sandbox.spawner() else {
            return;
        };
        self.reactor.remove(spawner.pidfd());
        let why = spawner.why_over().unwrap_or("it was killed".to_owned());
        self.sandbox.end_jobs();
        let message = format!("remit-spawner died: {why}");
        say_error!("{message}; all jobs are ended, and remitd ends");
        self.drop_prefork_pool();
        for serial in self.jobs.serials() {
            self.end_job(serial, State::Interrupted, "remit-spawner died");
        }
        self.failed = Some(message);
        self.stop();
        if self.shutdown != Some(Shutdown::Killed) {
            self.stop();
        }
    }

    fn on_watchdog_died(&mut self) {
        // Invariant: while a job runs, two other processes would end it if the daemon died. Without the `Watchdog`
        // there is only one.
        self.sandbox.end_jobs();
        say_error!("the watchdog died; all jobs are ended");
        if let Some(watchdog) = self.sandbox.watchdog() {
            self.reactor.remove(watchdog.pidfd());
        }
        self.drop_prefork_pool();
        // A `Watchdog` that could not be started is not watched: the end of the old one would be reported forever.
        let renewed = self.sandbox.restart_watchdog();
        if renewed && let Err(error) = self.observe_watchdog() {
            self.sandbox.give_up(&error.to_string());
        }
        let why = self.sandbox.refused().unwrap_or_default();
        let verdict = match self.sandbox.are_untried() {
            true => "untried",
            false => "refused",
        };
        let message = format!("the watchdog died; nothing runs in {why}");
        let record = Record::new(Event::SelfTest, message)
            .with_error_priority()
            .field("VERDICT", verdict);
        self.audit.note(record.field("CAUSE", &why));
        for serial in self.jobs.serials() {
            self.end_job(serial, State::Interrupted, "the watchdog of the jobs died");
        }
        if renewed {
            self.restart_self_test();
        }
    }
}
