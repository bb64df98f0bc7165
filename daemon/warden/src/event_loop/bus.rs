//! Follows `remit-bus`: what jobs asked it, and its end.

use std::time::Duration;

use remit_common::bus::Report;
use remit_common::names::JobId;

use crate::audit::{Event, Record};
use crate::event_loop::epoll::{Interest, Reactor, Token};
use crate::event_loop::timers::Timer;
use crate::job::allocation::JobUid;
use crate::job::context::JobCx;
use crate::sandbox::pool::Sandboxing;
use crate::service::bus_process::{Bus, BusUse};

/// Pause before a failed start is retried.
const AGAIN: Duration = Duration::from_secs(10);
/// Time for an answer about an ended job. Without one, the job's uid is never free: then the process is killed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Reports that are handled in one turn.
const REPORTS: usize = 512;

pub fn observe(bus: Option<&Bus>, reactor: &Reactor) {
    if let Some((socket, pidfd)) = bus.and_then(Bus::fds) {
        // What is not watched has no restart and no records; jobs still ask it.
        let watched = reactor
            .add(socket, Token::BusReports, Interest::Read)
            .and_then(|()| reactor.add(pidfd, Token::Bus, Interest::Read));
        if let Err(error) = watched {
            say_error!("cannot watch remit-bus: {error}");
        }
    }
}

/// Starts it again. Running jobs keep no bus: only workers that are started from now on have one.
pub fn restart(sandbox: &mut Sandboxing, reactor: &mut Reactor) -> bool {
    // Children that wait are of the workers that have ended by then.
    sandbox.drop_prefork_pool();
    match sandbox.manager.start_bus() {
        Ok(()) => {
            observe(sandbox.manager.bus(), reactor);
            true
        }
        Err(why) => {
            say_error!("{why}");
            if let Some(bus) = sandbox.manager.bus_mut() {
                // It can run already, and nobody observes it.
                bus.dismiss(Duration::ZERO);
            }
            reactor.timers.add(AGAIN, Timer::Bus);
            false
        }
    }
}

/// Reads its reports, up to a bound. Before a job's uid is released, this makes its connections known.
pub fn hear(cx: &mut JobCx<'_>) {
    for _ in 0..REPORTS {
        let Some(bus) = cx.sandbox.manager.bus_mut() else {
            return;
        };
        match bus.recv() {
            None => return,
            Some(Report::Ready) => {}
            Some(Report::Connected { uid }) => bus.connected(uid),
            Some(report @ Report::Ended { .. }) => {
                if let Some(asked) = bus.answered(report) {
                    cx.reports.audit.note(record(&asked));
                    cx.sandbox.uids.give_back(asked.uid);
                }
            }
        }
    }
}

/// Frees the uid of a job without processes, at once or when its questions are known.
pub fn release(cx: &mut JobCx<'_>, job: JobId, uid: JobUid) {
    // A connection that is not known yet would be counted for the next job of this uid.
    hear(cx);
    cx.sandbox.release_uid(job, uid);
    await_answer(cx);
}

/// Kills one that does not answer: its end frees the uids.
pub fn await_answer(cx: &mut JobCx<'_>) {
    let Some(bus) = cx.sandbox.manager.bus() else {
        return;
    };
    match bus.unanswered() {
        None => {}
        Some(waited) if waited >= PATIENCE => {
            say_error!("remit-bus does not answer; it is killed");
            bus.kill();
        }
        Some(_) if cx.reactor.timers.has(Timer::BusAnswer) => {}
        Some(waited) => {
            let rest = PATIENCE.saturating_sub(waited);
            cx.reactor.timers.add(rest, Timer::BusAnswer);
        }
    }
}

pub fn on_exited(cx: &mut JobCx<'_>) {
    hear(cx);
    let Some(bus) = cx.sandbox.manager.bus_mut() else {
        return;
    };
    if let Some((socket, pidfd)) = bus.fds() {
        // The spawner still has a copy of the socket.
        cx.reactor.remove(socket);
        cx.reactor.remove(pidfd);
    }
    let Some((pause, free)) = bus.dismiss(Duration::ZERO) else {
        return;
    };
    for uid in free {
        cx.sandbox.uids.give_back(uid);
    }
    cx.reports.audit.note(Record::new(
        Event::Broker,
        "remit-bus died; running jobs have no system bus any more",
    ));
    cx.reactor.timers.add(pause, Timer::Bus);
}

fn record(asked: &BusUse) -> Record {
    let BusUse {
        job,
        calls,
        refused,
        first,
        ..
    } = asked;
    let names = first.join(" ");
    let mut message = format!("job {job} asked the system bus: {calls} calls, {refused} refused");
    if !names.is_empty() {
        message += &format!(" ({names})");
    }
    Record::new(Event::Bus, message)
        .field("JOB", job.to_string())
        .field("BUS", format!("{calls},{refused}"))
        .maybe("BUS_REFUSED", (!names.is_empty()).then_some(names))
}
