//! Describes how a job ended, as text and as a record. Pure.

mod denials;

use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::Signal;
use remit_common::outcome::{Ending, State};
use remit_common::refusal::Code;
use remit_spawn::Why;
use remit_sys::Oom;

use crate::approval::ASK_AGAIN;
use crate::audit::Record;
use crate::audit::chain::hex;
use crate::event_loop::timers;
use crate::job::spawn_failure;
use crate::job::table::{Job, Start};
use crate::request::Plan;

pub fn ending(job: &Job) -> Ending {
    let (status, usage) = match &job.status {
        Some((status, usage)) => (Some(*status), Some(*usage)),
        None => (None, None),
    };
    let mut exit = status.and_then(|status| status.code());
    let mut signal = status.and_then(|status| status.signal());
    let oom = job.cgroup.oom_killed();
    let stopped_early = matches!(&job.start, Start::Failed(failure) if failure.why == Why::Died);
    let (state, cause) = if let (true, Some(stop)) = (stopped_early, &job.stop) {
        (stop.state, format!("{}, before it ran", stop.cause))
    } else if let Start::Failed(failure) = &job.start {
        exit = spawn_failure::status(failure);
        signal = None;
        (State::NotStarted, spawn_failure::cause(&job.plan, failure))
    } else if let Some(stop) = &job.stop {
        (stop.state, stop.cause.clone())
    } else if let Some(scope) = oom {
        let text = match scope {
            Oom::Job => "the kernel killed it, because the job exceeded its memory limit",
            Oom::Machine => "the kernel killed it, because the machine ran out of memory",
        };
        (State::OomKilled, text.to_owned())
    } else {
        match (exit, signal) {
            (Some(code), _) => (State::Exited, format!("exited with status {code}")),
            (None, Some(number)) => (State::Signalled, signal_cause(number)),
            (None, None) => (
                State::Interrupted,
                "its exit status is not known".to_owned(),
            ),
        }
    };
    let refused = job.cgroup.forks_refused();
    let cause = match refused {
        true => format!(
            "{cause}; it tried to start more than {} tasks (limits.tasks)",
            job.plan.bound.limits.nproc
        ),
        false => cause,
    };
    let is_empty = job.plan.life.is_empty();
    let cause = match is_empty {
        true => cause,
        false => {
            format!("{cause}; one of its processes is stuck in the kernel and occupies the slot")
        }
    };
    let peak = job.cgroup.memory_peak();
    let seen = denials::Seen {
        over_memory: state == State::OomKilled && oom == Some(Oom::Job),
        forks_refused: refused,
        signal,
    };
    let denials = denials::of(seen, job.plan.bound.compiled.name(), &job.plan.bound.limits);
    let is_void = matches!(&job.start, Start::Failed(failure) if failure.why == Why::Changed);
    Ending {
        denials,
        code: is_void.then_some(Code::ApprovalVoid),
        next: is_void.then(|| ASK_AGAIN.to_owned()),
        state,
        exit,
        signal,
        cause,
        kill_verified: is_empty,
        cpu_usec: usage.map_or(0, |usage| usage.cpu_usec),
        memory_peak: peak.or(usage.map(|usage| usage.maxrss_bytes)).unwrap_or(0),
        runtime_ms: timers::millis(job.runtime()),
    }
}

fn signal_cause(number: i32) -> String {
    let name = Signal::try_from(number).map_or("unknown", Signal::as_str);
    let why = match number {
        libc::SIGXCPU => ": it exceeded its CPU time (limits.cpu_s)",
        libc::SIGXFSZ => ": a file exceeded the size limit",
        libc::SIGSYS => ": it made a system call of another architecture",
        _ => "",
    };
    format!("ended by signal {number} ({name}){why}")
}

/// Returns the sentence of an end, without the command: `alice's job [7d025d0d] exited with status 0`.
fn ended(plan: &Plan, state: State, cause: &str) -> String {
    // These causes already say that the job ended.
    let ended = match state {
        State::Exited | State::Signalled | State::TimedOut => "",
        State::NotStarted => "did not start: ",
        _ => "ended: ",
    };
    format!("{} {ended}{cause}", plan.named("job"))
}

pub fn unrun_record(plan: &Plan, state: State, cause: &str) -> Record {
    plan.closing(&ended(plan, state, cause))
        .field("STATE", state.as_str())
        .field("CAUSE", cause)
        .field("KILL_VERIFIED", "yes")
}

pub fn end_record(job: &Job, ending: &Ending) -> Record {
    let totals = job.totals.as_ref();
    let enforced = job.enforced.as_ref().map(|e| e.layers.join(" "));
    job.plan
        .closing(&ended(&job.plan, ending.state, &ending.cause))
        .maybe("ENFORCED", enforced)
        .field("STATE", ending.state.as_str())
        .field("CAUSE", &ending.cause)
        .maybe("EXIT", ending.exit.map(|code| code.to_string()))
        .maybe("SIGNAL", ending.signal.map(|number| number.to_string()))
        .field(
            "KILL_VERIFIED",
            if ending.kill_verified { "yes" } else { "no" },
        )
        .maybe(
            "OUTPUT_BYTES",
            totals.map(|t| t.stdout_bytes.saturating_add(t.stderr_bytes).to_string()),
        )
        .maybe("OUTPUT_SHA256", totals.map(|t| hex(&t.sha256)))
        .number("CPU_USEC", ending.cpu_usec)
        .number("MEMORY_PEAK", ending.memory_peak)
        .number("RUNTIME_MS", ending.runtime_ms)
}
