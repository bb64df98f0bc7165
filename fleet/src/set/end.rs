//! What one answer of a host means for the set. Pure.

use serde_json::Value;

use super::order::Stage;
use crate::engine::HostOutcome;
use crate::link::answer::{all_followed, is_well, state};

/// Bytes of a job's id. Those of remit have 32.
const JOB: usize = 64;

/// Returns the stage after this answer. `has_never_run`: see [`never_ran`].
pub fn stage(outcome: &HostOutcome, before: Stage, has_never_run: bool) -> Stage {
    let Ok(answered) = outcome else {
        return Stage::Failed;
    };
    let result = &answered.result;
    match state(&result.data) {
        _ if result.is_error => Stage::Failed,
        // It goes on, and nobody can ask about it: without this the set would never be over.
        "awaiting_approval" | "queued" | "running" if open_job(outcome).is_none() => Stage::Failed,
        "awaiting_approval" => Stage::Waiting,
        "queued" => Stage::Queued,
        "running" => Stage::Sent,
        "cancelled" if before == Stage::Withdrawing && has_never_run => Stage::Withdrawn,
        _ if is_well(&result.data) && all_followed(&result.data) => Stage::Well,
        _ => Stage::Failed,
    }
}

/// Returns the job that has not ended.
pub fn open_job(outcome: &HostOutcome) -> Option<String> {
    let result = &outcome.as_ref().ok()?.result;
    let goes_on = ["awaiting_approval", "queued", "running"].contains(&state(&result.data));
    let job = result.data.get("job_id")?.as_str()?;
    let is_id = (1..=JOB).contains(&job.len());
    (goes_on && is_id && !result.is_error).then(|| job.to_owned())
}

/// Returns true if the details of a cancelled job say that nothing of it ran. An approver may have started it just before
/// it was stopped, and without details a short run looks the same.
pub fn never_ran(details: &HostOutcome) -> bool {
    let Ok(answered) = details else {
        return false;
    };
    let data = &answered.result.data;
    let is_zero = |key: &&str| data.get(*key) == Some(&Value::from(0));
    let is_unmeasured = ["runtime_ms", "cpu_usec", "memory_peak"]
        .iter()
        .all(is_zero);
    !answered.result.is_error && is_unmeasured && !data.contains_key("enforced")
}

/// Returns true if its request waits for a person or for a slot.
pub fn has_not_started(outcome: &HostOutcome) -> bool {
    let state = outcome
        .as_ref()
        .map(|answered| state(&answered.result.data));
    state.is_ok_and(|state| ["awaiting_approval", "queued"].contains(&state))
}

pub fn is_cancelled(outcome: &HostOutcome) -> bool {
    outcome
        .as_ref()
        .is_ok_and(|answered| state(&answered.result.data) == "cancelled")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::link::answer::{ServerInfo, ToolResult};
    use crate::link::{Answered, Unreachable};

    fn answer(data: Value) -> HostOutcome {
        Ok(Answered {
            result: ToolResult {
                is_error: data.get("error").is_some(),
                data: data.as_object().unwrap().clone(),
                text: String::new(),
            },
            server: ServerInfo::default(),
            asked_ms: (0, 0),
        })
    }

    #[test]
    fn only_an_exit_of_zero_is_well() {
        for (data, expect) in [
            (json!({"state": "exited", "exit": 0}), Stage::Well),
            (json!({"state": "exited", "exit": 1}), Stage::Failed),
            (json!({"state": "exited", "exit": "0"}), Stage::Failed),
            (json!({"state": "exited"}), Stage::Failed),
            (json!({"state": "signalled", "exit": 0}), Stage::Failed),
            (json!({"state": "denied"}), Stage::Failed),
            (json!({"state": "running", "job_id": "ab"}), Stage::Sent),
            (json!({"state": "queued", "job_id": "ab"}), Stage::Queued),
            (
                json!({"state": "awaiting_approval", "job_id": "ab"}),
                Stage::Waiting,
            ),
            // Nobody can ask how it goes on.
            (json!({"state": "running"}), Stage::Failed),
            (json!({"state": "queued", "job_id": 7}), Stage::Failed),
            (json!({"state": "awaiting_approval"}), Stage::Failed),
            (json!({"state": "cancelled"}), Stage::Failed),
            (json!({}), Stage::Failed),
            (
                json!({"state": "exited", "exit": 0, "error": {}}),
                Stage::Failed,
            ),
            (
                json!({"state": "exited", "exit": 0, "then": [{"state": "exited", "exit": 0}]}),
                Stage::Well,
            ),
            (
                json!({"state": "exited", "exit": 0, "then": [{"state": "exited", "exit": 3}]}),
                Stage::Failed,
            ),
            (
                json!({"state": "exited", "exit": 0, "then": "well"}),
                Stage::Failed,
            ),
        ] {
            let shown = data.to_string();
            assert_eq!(stage(&answer(data), Stage::Sent, true), expect, "{shown}");
        }
        let lost = Err(Unreachable("lost".into()));
        assert_eq!(stage(&lost, Stage::Sent, true), Stage::Failed);
    }

    #[test]
    fn withdrawn_is_what_never_ran() {
        for (data, has_never_run, expect) in [
            (json!({"state": "cancelled"}), true, Stage::Withdrawn),
            (json!({"state": "cancelled"}), false, Stage::Failed),
            // The withdrawal did not reach it: it is tried again.
            (
                json!({"state": "awaiting_approval", "job_id": "ab"}),
                false,
                Stage::Waiting,
            ),
            // A person was faster.
            (
                json!({"state": "running", "job_id": "ab"}),
                false,
                Stage::Sent,
            ),
            (json!({"state": "exited", "exit": 0}), false, Stage::Well),
        ] {
            let shown = data.to_string();
            let stage = stage(&answer(data), Stage::Withdrawing, has_never_run);
            assert_eq!(stage, expect, "{shown}");
        }
    }

    #[test]
    fn only_details_without_a_run_say_that_nothing_ran() {
        let details =
            json!({"state": "cancelled", "runtime_ms": 0, "cpu_usec": 0, "memory_peak": 0});
        assert!(never_ran(&answer(details.clone())));
        assert!(!never_ran(&Err(Unreachable("lost".into()))));
        assert!(!never_ran(&answer(json!({"state": "cancelled"}))), "brief");
        for (key, value) in [
            ("runtime_ms", json!(300)),
            ("cpu_usec", json!(1)),
            ("enforced", json!({})),
            ("error", json!({})),
        ] {
            let mut other = details.clone();
            other[key] = value;
            assert!(!never_ran(&answer(other)), "{key}");
        }
    }

    #[test]
    fn job_that_goes_on_is_followed() {
        let job = |data| open_job(&answer(data));
        assert_eq!(
            job(json!({"state": "running", "job_id": "ab"})).as_deref(),
            Some("ab")
        );
        assert_eq!(job(json!({"state": "exited", "job_id": "ab"})), None);
        assert_eq!(job(json!({"state": "running", "job_id": 7})), None);
        let long = "a".repeat(JOB + 1);
        assert_eq!(job(json!({"state": "running", "job_id": long})), None);
    }
}
