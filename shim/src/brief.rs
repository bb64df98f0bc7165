//! What an agent reads of a job: its output, its end, and what may mislead. The rest is in `job` with `detail`.

use remit_common::denial::Layer;
use remit_wire::outcome::State;
use remit_wire::result::{EnforcedResult, JobResult};

/// The call whose answer is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Start,
    Follow,
    /// It asks whether all processes are gone.
    Stop,
}

/// Milliseconds of a run from which on its length is shown.
const LONG: u64 = 1000;

/// Leaves out the echo of the call, a whole sandbox that ended nothing, resources, and totals of complete output.
pub fn shortened(job: JobResult, purpose: Purpose) -> JobResult {
    let is_shown_whole = !job.truncated && job.stdout.is_some();
    let total = |count: u64| if is_shown_whole { 0 } else { count };
    let met_limit = met_limit(&job);
    let has_started = !matches!(job.state, State::AwaitingApproval | State::Queued);
    JobResult {
        command: if purpose == Purpose::Start {
            String::new()
        } else {
            job.command
        },
        stdout: job.stdout.filter(|text| !text.is_empty() || has_started),
        stderr: job.stderr.filter(|text| !text.is_empty()),
        stdout_bytes: total(job.stdout_bytes),
        stderr_bytes: total(job.stderr_bytes),
        stdout_lines: total(job.stdout_lines),
        stderr_lines: total(job.stderr_lines),
        enforced: job
            .enforced
            .filter(|enforced| met_limit || lacks_a_layer(enforced)),
        started_ms: 0,
        runtime_ms: job.runtime_ms.filter(|ms| *ms >= LONG || met_limit),
        cpu_usec: job.cpu_usec.filter(|_| met_limit),
        memory_peak: job.memory_peak.filter(|_| met_limit),
        kill_verified: job
            .kill_verified
            .filter(|is_gone| !is_gone || purpose == Purpose::Stop),
        ..job
    }
}

fn met_limit(job: &JobResult) -> bool {
    let by_state = matches!(
        job.state,
        State::TimedOut | State::OomKilled | State::OutputLimit
    );
    let of_limit = |layer: Layer| matches!(layer, Layer::Cgroup | Layer::Rlimit);
    by_state || job.denials.iter().any(|denial| of_limit(denial.layer))
}

/// Returns true without a sandbox, without Landlock, and in a copy without its mask. Without another layer nothing runs.
fn lacks_a_layer(enforced: &EnforcedResult) -> bool {
    enforced.landlock == 0 || enforced.layers.iter().any(|layer| layer == "unmasked")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(change: Value) -> JobResult {
        let mut job = json!({
            "job_id": "11", "command": "true", "state": "exited", "exit": 0, "stdout": "", "stderr": "",
            "stdout_bytes": 5, "stdout_lines": 1, "started_ms": 7, "runtime_ms": 12, "cpu_usec": 3,
            "memory_peak": 4, "kill_verified": true,
            "enforced": { "profile": "read", "uid": 9, "walls": ["no_new_privs"], "landlock": 7 },
        });
        for (key, value) in change.as_object().expect("an object") {
            job[key] = value.clone();
        }
        serde_json::from_value(job).expect("a job's result")
    }

    #[test]
    fn only_what_says_something_stays() {
        let denial = json!({ "layer": "cgroup", "operation": "fork", "rule": "tasks 32" });
        let enforced = |landlock: u32, layer: &str| json!({ "profile": "p", "uid": 9, "walls": [layer], "landlock": landlock });
        let cases = [
            (json!({}), &["stdout"][..]),
            (json!({ "stderr": "x" }), &["stdout", "stderr"]),
            (
                json!({ "truncated": true }),
                &["stdout", "stdout_bytes", "stdout_lines", "truncated"],
            ),
            (
                json!({ "kill_verified": false }),
                &["stdout", "kill_verified"],
            ),
            (json!({ "runtime_ms": 1000 }), &["stdout", "runtime_ms"]),
            (
                json!({ "enforced": enforced(0, "no_new_privs") }),
                &["stdout", "enforced"],
            ),
            (
                json!({ "enforced": enforced(0, "none (host)") }),
                &["stdout", "enforced"],
            ),
            (
                json!({ "enforced": enforced(7, "unmasked") }),
                &["stdout", "enforced"],
            ),
            (
                json!({ "state": "oom_killed" }),
                &[
                    "stdout",
                    "enforced",
                    "runtime_ms",
                    "cpu_usec",
                    "memory_peak",
                ],
            ),
            (
                json!({ "denials": [denial] }),
                &[
                    "stdout",
                    "denials",
                    "enforced",
                    "runtime_ms",
                    "cpu_usec",
                    "memory_peak",
                ],
            ),
        ];
        for (change, present) in cases {
            let brief = shortened(job(change.clone()), Purpose::Start);
            let brief = serde_json::to_value(brief).expect("JSON");
            let mut expect = vec!["job_id", "state", "exit"];
            expect.extend(present);
            let mut keys: Vec<&str> = brief
                .as_object()
                .expect("an object")
                .keys()
                .map(String::as_str)
                .collect();
            keys.sort_unstable();
            expect.sort_unstable();
            assert_eq!(keys, expect, "{change}");
        }
        let waiting = shortened(job(json!({ "state": "queued" })), Purpose::Follow);
        assert_eq!((waiting.stdout, waiting.command.as_str()), (None, "true"));
        let stopped = shortened(job(json!({})), Purpose::Stop);
        assert_eq!(stopped.kill_verified, Some(true));
    }
}
