//! Arguments of `plan`: edits, a program for a copy of the machine, or the job that was one; and checks of the plan.

use remit_common::caps;
use remit_common::inspect::EXTRACTED_JOB;
use remit_common::names::JobId;
use remit_common::refusal::Refusal;
use remit_plan::{hex, sha256};
use remit_wire::edits::{CHECKS, COPY_PROFILE, CallText, EXTRACT, EditText, PLAN, PLAN_PRIVATE};
use remit_wire::{JobQuery, Purpose, Request, Run};
use schemars::JsonSchema;
use serde::Deserialize;

use super::run::{Runnable, of_name, request_id};
use super::{DaemonCall, PlanStep, filled, id_in, invalid};

/// Waits of the steps after the first, in milliseconds. Clients give up after 60 s, so that all waits of a call together
/// are at most [`caps::WAIT_MS`].
const EXTRACT_MS: u32 = 10_000;
const CHECKS_MS: u32 = caps::WAIT_MS_DEFAULT;

/// End of an extraction's request id.
const EXTRACTION: &str = "/plan";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanArgs {
    /// One a path.
    #[serde(default, deserialize_with = "filled")]
    edits: Option<Vec<EditText>>,
    /// Or run this on a copy of the server.
    #[serde(default, deserialize_with = "filled")]
    argv: Option<Vec<String>>,
    /// As argv.
    #[serde(default, deserialize_with = "filled")]
    script: Option<String>,
    /// Or this job of a copy.
    #[serde(default, deserialize_with = "filled")]
    job_id: Option<String>,
    /// Files you may not read, whole.
    private: Option<bool>,
    /// Commands that check the new files: nginx.check
    check: Option<Vec<String>>,
    /// As run.
    request_id: Option<String>,
}

pub fn plan(args: PlanArgs) -> Result<DaemonCall, Refusal> {
    let ways = [
        ("'edits'", args.edits.is_some()),
        ("'argv'", args.argv.is_some()),
        ("'script'", args.script.is_some()),
        ("'job_id'", args.job_id.is_some()),
    ];
    let set = ways.iter().filter(|(_, is_set)| *is_set);
    match set.map(|(name, _)| *name).collect::<Vec<_>>().as_slice() {
        [_] => {}
        [first @ .., last] => {
            let first = first.join(", ");
            let message = format!("{first} and {last} exclude each other");
            return Err(invalid(&message).next("give one of them"));
        }
        [] => {
            return Err(invalid(
                "one of 'edits', 'argv', 'script' and 'job_id' is needed",
            ));
        }
    }
    let is_copy = args.edits.is_none();
    if is_copy && args.private == Some(true) {
        return Err(invalid("'private' belongs to 'edits'"));
    }
    let checks = checks(args.check.unwrap_or_default())?;
    let edits = args.edits.unwrap_or_default();
    let (run, plan) = match args.job_id {
        _ if !is_copy => {
            let name = match args.private {
                Some(true) => PLAN_PRIVATE,
                _ => PLAN,
            };
            (of_name(name, Vec::new(), Purpose::Use), PlanStep::Make)
        }
        Some(job) => (extracted(id_in("job_id", &job)?), PlanStep::Make),
        None => {
            let what = Runnable {
                argv: args.argv,
                script: args.script,
                interpreter: None,
                name: None,
                args: None,
            };
            let run = Run {
                profile: Some(COPY_PROFILE.to_owned()),
                ..Run::new(what.what()?, Purpose::Use)
            };
            (run, PlanStep::Try)
        }
    };
    let run = Run {
        request_id: request_id(args.request_id)?,
        ..run
    };
    Ok(DaemonCall {
        plan,
        edits,
        checks,
        ..Request::Run(run).into()
    })
}

/// Asks again for a program on a copy that runs longer than the default wait. A longer one would be for a person too.
pub fn rest(job: JobId) -> Request {
    Request::Job(JobQuery {
        job,
        wait_ms: caps::WAIT_MS - caps::WAIT_MS_DEFAULT - EXTRACT_MS,
        part: None,
    })
}

/// Returns the request for a plan of what this job changed in its copy of the machine, as a step of the call `request`.
/// A plan is made once of a copy, so a repeated call has to ask for the same job.
pub fn extract(job: JobId, request: &str) -> Run {
    let id = match request.len() + EXTRACTION.len() <= caps::REQUEST_ID {
        true => request.to_owned(),
        false => hex(&sha256(request.as_bytes())),
    };
    Run {
        wait_ms: Some(EXTRACT_MS),
        request_id: Some(format!("{id}{EXTRACTION}")),
        ..extracted(job)
    }
}

fn extracted(job: JobId) -> Run {
    let args = vec![(EXTRACTED_JOB.to_owned(), job.to_string())];
    of_name(EXTRACT, args, Purpose::Use)
}

fn checks(texts: Vec<String>) -> Result<Vec<CallText>, Refusal> {
    if texts.len() > CHECKS {
        return Err(invalid(&format!("argument 'check': at most {CHECKS}")));
    }
    let call = |text: String| text.parse();
    let calls: Result<Vec<_>, String> = texts.into_iter().map(call).collect();
    calls.map_err(|why| invalid(&format!("argument 'check': {why}")))
}

/// Returns the request for a check of the plan. All `count` checks share one wait.
pub fn check(call: &CallText, plan: &[u8], count: usize) -> Run {
    let count = u32::try_from(count).unwrap_or(u32::MAX).max(1);
    Run {
        stdin: Some(plan.to_vec().into()),
        wait_ms: Some(CHECKS_MS / count),
        ..Run::new(call.what.clone(), Purpose::Use)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::try_call;
    use super::*;
    use crate::tools::Tool;

    #[test]
    fn checks_are_read_with_the_plan() {
        let plan = |check: Value| {
            let edits = json!([{"path": "/etc/a", "mkdir": true}]);
            try_call(Tool::Plan, json!({"edits": edits, "check": check}))
        };
        let call = plan(json!(["nginx.test config=/a", "b"])).unwrap();
        let texts: Vec<&str> = call.checks.iter().map(|check| &*check.text).collect();
        assert_eq!(texts, ["nginx.test config=/a", "b"]);
        assert_eq!(call.plan, PlanStep::Make);
        for (check, why) in [
            (
                json!(["a", "b", "c", "d", "e"]),
                "argument 'check': at most 4",
            ),
            (json!(["a b"]), "argument 'check': 'a b' is no call"),
            (json!("a"), "argument 'check': expected a list of strings"),
        ] {
            let error = plan(check).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn extraction_has_id_of_its_call() {
        let id = |request: &str| extract(JobId([1; 16]), request).request_id.unwrap();
        assert_eq!(id("mine"), "mine/plan");
        let longest = "x".repeat(caps::REQUEST_ID - EXTRACTION.len());
        assert_eq!(id(&longest), format!("{longest}/plan"));
        let (one, other) = (longest.clone() + "y", longest + "z");
        assert_ne!(id(&one), id(&other));
        assert!(id(&one).len() <= caps::REQUEST_ID && id(&one).ends_with("/plan"));
    }
}
