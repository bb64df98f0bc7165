//! Starts the broker, and handles the end of processes that the daemon needs.

use std::os::fd::AsFd;
use std::time::Duration;

use remit_common::outcome::State;
use remit_link::ToBroker;
use remit_trail::RecordVerdict;

use crate::approval::Request;
use crate::audit::{Event, Record};
use crate::config::Config;
use crate::event_loop::epoll::{Interest, Reactor, Token};
use crate::event_loop::timers::Timer;
use crate::job::context::JobCx;
use crate::job::table;
use crate::job::termination::end_job;
use crate::sandbox::SandboxManager;
use crate::sandbox::checkup::restart_self_test;
use crate::startup::error::Fatal;

/// Timeout for a broker to confine itself and report that it is ready.
const READY: Duration = Duration::from_secs(10);
/// Time for a killed broker to end. A thread of it that hangs in the kernel may never end.
const BROKER_END: Duration = Duration::from_secs(1);
/// Pause before a failed start of the broker is retried.
const AGAIN: Duration = Duration::from_secs(1);

/// Starts a broker and sends it all known jobs. Only the first start may fail. Later ones are retried.
pub fn start_broker(cx: &mut JobCx<'_>, announced: bool, config: &Config) -> Result<(), Fatal> {
    match cx.reports.broker.start() {
        Ok(()) => cx.reactor.timers.add(READY, Timer::Ready),
        Err(error) if announced => {
            say_error!("{error}");
            cx.reactor.timers.add(AGAIN, Timer::Broker);
            return Ok(());
        }
        Err(error) => return Err(error),
    }
    let Some((link, pidfd)) = cx.reports.broker.fds() else {
        return Ok(());
    };
    let watch = Fatal::call("cannot watch the broker");
    cx.reactor
        .add(link, Token::Link, Interest::Read)
        .and_then(|()| cx.reactor.add(pidfd, Token::Broker, Interest::Read))
        .map_err(watch)?;
    if let Some(socket) = cx.sandbox.manager.kernel_audit().socket() {
        let jobs = &config.jobs;
        let message = ToBroker::KernelAudit {
            uid_first: jobs.uid_first,
            uid_count: jobs.uid_count,
        };
        cx.reports.broker.send(&message, &[socket.as_fd()]);
    }
    // Secrets of ended jobs are not kept anywhere.
    let ended = cx.jobs.ended_whole().map(|meta| (meta, Vec::new()));
    let never_ran = cx.jobs.never_ran().cloned();
    let ended = ended.chain(never_ran.map(|meta| (meta, Vec::new())));
    let waiting = cx.jobs.waiting();
    let waiting = waiting.map(|waiting| (waiting.meta(), waiting.plan.secrets()));
    let asked = cx.jobs.all::<Request>();
    let asked = asked.map(|(_, request)| (request.meta(), request.draft.secrets()));
    for (meta, secrets) in ended.chain(waiting).chain(asked) {
        let message = ToBroker::Job {
            secrets,
            ticket: None,
            meta: Box::new(meta),
        };
        cx.reports.broker.send(&message, &[]);
    }
    for (_, job) in cx.jobs.live() {
        let meta = Box::new(job.meta());
        let fds = table::output(&job.process).map(AsFd::as_fd);
        cx.reports.broker.send(
            &ToBroker::Job {
                secrets: job.plan.secrets(),
                ticket: None,
                meta,
            },
            &fds,
        );
        if job.plan.life.has_exited() {
            let job = job.plan.job;
            cx.reports.broker.send(&ToBroker::Exited { job }, &[]);
        }
    }
    cx.reports.broker.send(&ToBroker::Adopted, &[]);
    Ok(())
}

/// Sets the time in which a killed broker has to end.
pub fn limit_broker_end(cx: &mut JobCx<'_>) {
    if cx.reports.broker.is_ending() && !cx.reactor.timers.has(Timer::BrokerEnd) {
        cx.reactor.timers.add(BROKER_END, Timer::BrokerEnd);
    }
}

pub fn on_watchdog_died(cx: &mut JobCx<'_>) {
    // Invariant: while a job runs, two other processes would end it if the daemon died. One is the `Watchdog`.
    cx.sandbox.manager.end_jobs();
    say_error!("the watchdog died; all jobs are ended");
    if let Some(watchdog) = cx.sandbox.manager.watchdog() {
        cx.reactor.remove(watchdog.pidfd());
    }
    cx.sandbox.drop_prefork_pool();
    // A `Watchdog` that could not be started is not watched: the end of the old one would be reported forever.
    let renewed = cx.sandbox.manager.restart_watchdog();
    if renewed && let Err(error) = observe_watchdog(&cx.sandbox.manager, cx.reactor) {
        cx.sandbox.manager.give_up(&error.to_string());
    }
    let why = cx.sandbox.manager.refused().unwrap_or_default();
    let verdict = match cx.sandbox.manager.are_untried() {
        true => RecordVerdict::Untried,
        false => RecordVerdict::Refused,
    };
    let message = format!("the watchdog died; nothing runs in {why}");
    let record = Record::new(Event::SelfTest, message)
        .with_error_priority()
        .field("VERDICT", verdict.name());
    cx.reports.audit.note(record.field("CAUSE", &why));
    for serial in cx.jobs.serials() {
        end_job(
            cx,
            serial,
            State::Interrupted,
            "the watchdog of the jobs died",
        );
    }
    if renewed {
        restart_self_test(cx);
    }
}

/// Ends all jobs. Returns why the daemon has to end too: the service manager starts both again.
pub fn on_spawner_died(cx: &mut JobCx<'_>) -> Option<String> {
    let spawner = cx.sandbox.manager.spawner()?;
    cx.reactor.remove(spawner.pidfd());
    let why = spawner.why_over().unwrap_or("it was killed".to_owned());
    // Its workers have lost one of their two ends; this drops the other.
    spawner.end_workers(Duration::ZERO);
    cx.sandbox.manager.end_jobs();
    let message = format!("remit-spawner died: {why}");
    say_error!("{message}; all jobs are ended, and remitd ends");
    cx.sandbox.drop_prefork_pool();
    for serial in cx.jobs.serials() {
        end_job(cx, serial, State::Interrupted, "remit-spawner died");
    }
    Some(message)
}

pub fn observe_watchdog(sandbox: &SandboxManager, reactor: &Reactor) -> Result<(), Fatal> {
    let Some(watchdog) = sandbox.watchdog() else {
        return Ok(());
    };
    reactor
        .add(watchdog.pidfd(), Token::Watchdog, Interest::Read)
        .map_err(Fatal::call("cannot wait for the watchdog"))
}

pub fn observe_spawner(sandbox: &SandboxManager, reactor: &Reactor) -> Result<(), Fatal> {
    let Some(spawner) = sandbox.spawner() else {
        return Ok(());
    };
    reactor
        .add(spawner.pidfd(), Token::Spawner, Interest::Read)
        .map_err(Fatal::call("cannot wait for remit-spawner"))
}
