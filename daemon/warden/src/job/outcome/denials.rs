//! Describes which limits refused something to a job, as far as the daemon saw it. Pure.

use remit_common::denial::{Denial, Layer};
use remit_sys::Limits;

#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// The kernel killed it because it exceeded its own memory limit.
    pub over_memory: bool,
    pub forks_refused: bool,
    pub signal: Option<i32>,
}

/// Returns a denial for each limit that the job reached.
pub fn of(seen: Seen, profile: &str, limits: &Limits) -> Vec<Denial> {
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
            let all = of(seen, "read", &limits);
            assert!(
                all.iter()
                    .all(|denial| denial.next.is_some() && denial.lift.is_some() && !denial.guess)
            );
            all.iter()
                .map(|denial| format!("{} {}", denial.layer.as_str(), denial.operation))
                .collect()
        };
        let signal = |signal| Seen {
            signal: Some(signal),
            ..Seen::default()
        };
        assert!(denied(Seen::default()).is_empty());
        assert!(denied(signal(libc::SIGKILL)).is_empty());
        assert_eq!(denied(signal(libc::SIGXCPU)), ["rlimit cpu"]);
        assert_eq!(denied(signal(libc::SIGXFSZ)), ["rlimit write"]);
        assert_eq!(denied(signal(libc::SIGSYS)), ["seccomp system call"]);
        let both = Seen {
            over_memory: true,
            forks_refused: true,
            signal: None,
        };
        assert_eq!(denied(both), ["cgroup memory", "cgroup fork"]);
    }
}
