//! Describes how a job ended, as text and as a record, and which limits refused something to it. Pure.

use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::Signal;
use remit_common::denial::{Denial, Layer};
use remit_common::outcome::{Ending, State};
use remit_common::refusal::Code;
use remit_spawn::Why;
use remit_sys::{Limits, Oom};

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
    let seen = LimitsReached {
        over_memory: state == State::OomKilled && oom == Some(Oom::Job),
        forks_refused: refused,
        signal,
    };
    let denials = denials(seen, job.plan.bound.compiled.name(), &job.plan.bound.limits);
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

#[derive(Clone, Copy, Debug, Default)]
struct LimitsReached {
    /// The kernel killed it because it exceeded its own memory limit.
    pub over_memory: bool,
    pub forks_refused: bool,
    pub signal: Option<i32>,
}

fn denials(seen: LimitsReached, profile: &str, limits: &Limits) -> Vec<Denial> {
    let denial = |layer, operation: &str, rule: String, key: &str, next: &str| Denial {
        layer,
        operation: operation.to_owned(),
        object: None,
        rule,
        lift: Some(match key {
            "" => "nothing: only programs of this machine's architecture run here".to_owned(),
            // A profile cannot set it.
            "cpu_s" => "a larger cpu_s in [limits] of remit.toml".to_owned(),
            key => format!(
                "a larger {key} in the limits of profile '{profile}', or in [limits] of remit.toml"
            ),
        }),
        next: Some(next.to_owned()),
        guess: false,
    };
    let mut all = Vec::new();
    if seen.over_memory {
        let rule = format!("limits.memory: {} bytes", limits.data);
        let next = "work on less at a time: a stream, a part, the output of a filter";
        all.push(denial(Layer::Cgroup, "memory", rule, "memory", next));
    }
    if seen.forks_refused {
        let rule = format!("limits.tasks: {} processes and threads", limits.nproc);
        all.push(denial(
            Layer::Cgroup,
            "fork",
            rule,
            "tasks",
            "start fewer processes and threads at a time",
        ));
    }
    match seen.signal {
        Some(libc::SIGXCPU) => {
            let rule = format!("limits.cpu_s: {} seconds of each process", limits.cpu_s);
            all.push(denial(
                Layer::Rlimit,
                "cpu",
                rule,
                "cpu_s",
                "do it in parts",
            ));
        }
        Some(libc::SIGXFSZ) => {
            let rule = format!("limits.tmp: {} bytes", limits.tmp_bytes);
            all.push(denial(
                Layer::Rlimit,
                "write",
                rule,
                "tmp",
                "write smaller files, or to standard output",
            ));
        }
        Some(libc::SIGSYS) => {
            let rule = "the filter of system calls: those of another architecture".to_owned();
            all.push(denial(
                Layer::Seccomp,
                "system call",
                rule,
                "",
                "run a program that was built for this machine",
            ));
        }
        _ => {}
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MachineLimits;

    #[test]
    fn each_limit_has_its_answer() {
        let limits = MachineLimits::default().limits();
        let denied = |seen| -> Vec<String> {
            let all = denials(seen, "read", &limits);
            assert!(
                all.iter()
                    .all(|denial| denial.next.is_some() && denial.lift.is_some() && !denial.guess)
            );
            all.iter()
                .map(|denial| format!("{} {}", denial.layer.as_str(), denial.operation))
                .collect()
        };
        let signal = |signal| LimitsReached {
            signal: Some(signal),
            ..LimitsReached::default()
        };
        assert!(denied(LimitsReached::default()).is_empty());
        assert!(denied(signal(libc::SIGKILL)).is_empty());
        assert_eq!(denied(signal(libc::SIGXCPU)), ["rlimit cpu"]);
        assert_eq!(denied(signal(libc::SIGXFSZ)), ["rlimit write"]);
        assert_eq!(denied(signal(libc::SIGSYS)), ["seccomp system call"]);
        let both = LimitsReached {
            over_memory: true,
            forks_refused: true,
            signal: None,
        };
        assert_eq!(denied(both), ["cgroup memory", "cgroup fork"]);
    }
}
