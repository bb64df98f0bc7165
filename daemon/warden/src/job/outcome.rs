//! Describes how a job ended, as text and as a record, and which limits refused something to it. Pure.

use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::Signal;
use remit_common::denial::{Denial, Layer};
use remit_common::job_limit::JobLimit;
use remit_common::outcome::{Ending, State};
use remit_common::refusal::Code;
use remit_policy::{Base, Profile};
use remit_spawn::Why;
use remit_sys::{Limits, Oom};

use crate::approval::ask_again;
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
    let limits = &job.plan.bound.limits;
    let cpu_used = usage.is_some_and(|usage| is_used_up(usage.cpu_usec, limits.cpu_s));
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
            (None, Some(number)) => (State::Signalled, signal_cause(number, cpu_used)),
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
            limits.nproc
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
        // A stop can send any of them.
        signal: signal.filter(|_| job.stop.is_none()),
        cpu_used,
    };
    let compiled = &job.plan.bound.compiled;
    let denials = denials(seen, (compiled.profile(), compiled.space()), limits);
    let is_void = matches!(&job.start, Start::Failed(failure) if failure.why == Why::Changed);
    Ending {
        denials,
        code: is_void.then_some(Code::ApprovalVoid),
        next: is_void.then(|| ask_again(job.plan.request.as_ref())),
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

/// RLIMIT_CPU counts whole ticks, wait4(2) the time that was used, which on a busy machine is over a tenth less.
const fn is_used_up(cpu_usec: u64, cpu_s: u64) -> bool {
    cpu_usec >= cpu_s.saturating_mul(500_000)
}

/// Any process may send these signals, so a signal alone is no observation.
fn signal_cause(number: i32, cpu_used: bool) -> String {
    let name = Signal::try_from(number).map_or("unknown", Signal::as_str);
    let why = match number {
        libc::SIGXCPU if cpu_used => ": it exceeded its CPU time (limits.cpu_s)",
        libc::SIGXFSZ => ": probably a file exceeded a size limit",
        libc::SIGSYS => ": probably it made a system call of another architecture",
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
    // Output may have a secret in it, and a hash of both would let readers guess that.
    let hashed = totals.filter(|_| !job.plan.bound.has_secrets());
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
        .maybe("OUTPUT_SHA256", hashed.map(|t| hex(&t.sha256)))
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
    /// It has used its CPU time.
    pub cpu_used: bool,
}

/// `space`: bytes of its copy of the machine, if it has one.
fn denials(
    seen: LimitsReached,
    (profile, space): (&Profile, Option<u64>),
    limits: &Limits,
) -> Vec<Denial> {
    let denial = |layer, limit: JobLimit, rule| Denial {
        layer,
        operation: limit.operation().to_owned(),
        object: None,
        rule,
        lift: Some(limit.lift(&profile.name)),
        next: Some(limit.next().to_owned()),
        guess: false,
    };
    let mut all = Vec::new();
    if seen.over_memory {
        let bytes = limits.memory.unwrap_or(limits.data);
        let rule = match space {
            Some(space) => {
                format!("limits.memory: {bytes} bytes, {space} of them for the copy of the machine")
            }
            None => format!("limits.memory: {bytes} bytes"),
        };
        all.push(denial(Layer::Cgroup, JobLimit::Memory, rule));
    }
    if seen.forks_refused {
        let rule = format!("limits.tasks: {} processes and threads", limits.nproc);
        all.push(denial(Layer::Cgroup, JobLimit::Tasks, rule));
    }
    match seen.signal {
        Some(libc::SIGXCPU) if seen.cpu_used => {
            let rule = format!("limits.cpu_s: {} seconds of each process", limits.cpu_s);
            all.push(denial(Layer::Rlimit, JobLimit::CpuTime, rule));
        }
        // Jobs of base host have no limit but one of their own.
        Some(libc::SIGXFSZ) if profile.base != Base::Host => {
            let (limit, bytes) = limit_of_files(space, limits);
            let rule = format!("{}: {bytes} bytes", limit.setting());
            all.push(Denial {
                guess: true,
                ..denial(Layer::Rlimit, limit, rule)
            });
        }
        Some(libc::SIGSYS) => all.push(Denial {
            layer: Layer::Seccomp,
            operation: "system call".to_owned(),
            object: None,
            rule: "the filter of system calls: those of another architecture".to_owned(),
            lift: Some("nothing: only programs of this machine's architecture run here".to_owned()),
            next: Some("run a program that was built for this machine".to_owned()),
            guess: true,
        }),
        _ => {}
    }
    all
}

/// Returns the setting that made the limit of one file's size, and its bytes: the largest that applies.
const fn limit_of_files(space: Option<u64>, limits: &Limits) -> (JobLimit, u64) {
    match (limits.is_fsize_of_tmp(), space) {
        (true, _) => (JobLimit::Tmp, limits.tmp_bytes),
        (false, Some(space)) => (JobLimit::Space, space),
        (false, None) => (JobLimit::File, limits.fsize),
    }
}

#[cfg(test)]
mod tests {
    use remit_policy::ProfileLimits;

    use super::*;
    use crate::config::MachineLimits;

    #[test]
    fn each_limit_has_its_answer() {
        let limits = MachineLimits::default().limits();
        let profile = Profile::read();
        let denied = |seen| -> Vec<String> {
            let all = denials(seen, (&profile, None), &limits);
            assert!(
                all.iter()
                    .all(|denial| denial.next.is_some() && denial.lift.is_some())
            );
            let line = |denial: &Denial| {
                let guess = if denial.guess { " ?" } else { "" };
                format!("{} {}{guess}", denial.layer.as_str(), denial.operation)
            };
            all.iter().map(line).collect()
        };
        let cpu_used = LimitsReached {
            cpu_used: true,
            ..signal(libc::SIGXCPU)
        };
        let both = LimitsReached {
            over_memory: true,
            forks_refused: true,
            ..LimitsReached::default()
        };
        for (seen, expect) in [
            (LimitsReached::default(), &[][..]),
            (signal(libc::SIGKILL), &[]),
            (signal(libc::SIGXCPU), &[]),
            (cpu_used, &["rlimit cpu"]),
            (signal(libc::SIGXFSZ), &["rlimit write ?"]),
            (signal(libc::SIGSYS), &["seccomp system call ?"]),
            (both, &["cgroup memory", "cgroup fork"]),
        ] {
            assert_eq!(denied(seen), expect, "{seen:?}");
        }
    }

    #[test]
    fn signal_alone_proves_no_limit() {
        for (cpu_usec, is_used) in [(8_000, false), (1_000_000, false), (3_599_900_000, true)] {
            assert_eq!(is_used_up(cpu_usec, 3600), is_used, "{cpu_usec}");
        }
        for (number, cpu_used, expect) in [
            (libc::SIGXCPU, false, "ended by signal 24 (SIGXCPU)"),
            (
                libc::SIGXCPU,
                true,
                "ended by signal 24 (SIGXCPU): it exceeded its CPU time (limits.cpu_s)",
            ),
            (
                libc::SIGXFSZ,
                true,
                "ended by signal 25 (SIGXFSZ): probably a file exceeded a size limit",
            ),
            (
                libc::SIGSYS,
                true,
                "ended by signal 31 (SIGSYS): probably it made a system call of another architecture",
            ),
            (libc::SIGKILL, true, "ended by signal 9 (SIGKILL)"),
        ] {
            assert_eq!(signal_cause(number, cpu_used), expect);
        }
    }

    #[test]
    fn memory_of_a_copy_is_a_part_of_the_limit() {
        let over = LimitsReached {
            over_memory: true,
            ..LimitsReached::default()
        };
        let (machine, space) = (MachineLimits::default(), Some(1 << 30));
        for (limits, space, expect) in [
            (machine.limits(), None, "limits.memory: 2147483648 bytes"),
            (
                machine.of_a_copying_job(space),
                space,
                "limits.memory: 3221225472 bytes, 1073741824 of them for the copy of the machine",
            ),
        ] {
            let all = denials(over, (&Profile::read(), space), &limits);
            assert_eq!(all[0].rule, expect);
        }
    }

    fn signal(signal: i32) -> LimitsReached {
        LimitsReached {
            signal: Some(signal),
            ..LimitsReached::default()
        }
    }

    #[test]
    fn size_of_a_file_is_a_limit_of_the_setting_that_made_it() {
        let machine = MachineLimits::default();
        let large = |tmp| {
            machine.with(&[ProfileLimits {
                tmp: Some(tmp),
                ..ProfileLimits::default()
            }])
        };
        let (writes, copies) = (large(8 << 30), large(1 << 20));
        let space = Some(7 << 20);
        let site = |name: &str| Profile {
            name: name.to_owned(),
            ..Profile::strict()
        };
        for (name, limits, space, rule, lift) in [
            (
                "site",
                machine.limits(),
                None,
                "limits.tmp: 67108864 bytes",
                "a larger tmp in the limits of profile 'site', or tmp in [limits] of remit.toml",
            ),
            (
                "read",
                machine.limits(),
                None,
                "limits.tmp: 67108864 bytes",
                "a larger tmp in [limits] of remit.toml",
            ),
            (
                "site",
                machine.clone().of_a_writing_job(),
                None,
                "limits.file: 2147483648 bytes",
                "a larger file in [limits] of remit.toml",
            ),
            (
                "read",
                writes.of_a_writing_job(),
                None,
                "limits.tmp: 8589934592 bytes",
                "a larger tmp in [limits] of remit.toml",
            ),
            (
                "plan",
                copies.of_a_copying_job(space),
                space,
                "space of the profile: 7340032 bytes",
                "a larger space in profile 'plan'",
            ),
            (
                "plan",
                machine.clone().of_a_copying_job(space),
                space,
                "limits.tmp: 67108864 bytes",
                "a larger tmp in the limits of profile 'plan', or tmp in [limits] of remit.toml",
            ),
        ] {
            let all = denials(signal(libc::SIGXFSZ), (&site(name), space), &limits);
            let said: Vec<_> = all
                .iter()
                .map(|denial| (&*denial.rule, denial.lift.as_deref()))
                .collect();
            assert_eq!(said, [(rule, Some(lift))], "{name}");
        }
        let host = denials(
            signal(libc::SIGXFSZ),
            (&Profile::host(), None),
            &machine.limits(),
        );
        assert!(host.is_empty(), "{host:?}");
    }
}
