//! Checks of a plan: named commands that see the files as they will be. Whatever they say, the plan stays as it is.

use remit_plan::Bundle;
use remit_wire::edits::CallText;
use remit_wire::outcome::JobReport;
use remit_wire::result::JobResult;
use remit_wire::{Bytes, Purpose};
use serde_json::{Value, json};

use super::plan_output::call;
use super::run;
use crate::client::ctrl_c::Interrupt;
use crate::client::user_socket::Daemon;
use crate::error::{Exit, Failure};
use crate::render::output::{self, Form};
use crate::render::{job_end, plan as page};

/// Runs checks in order, until Ctrl-C or a lost daemon. Returns the first status that is not 0, and each end as JSON.
pub fn run_checks(
    form: Form,
    daemon: &mut Daemon,
    interrupt: &Interrupt,
    bundle: &Bundle,
    checks: &[CallText],
) -> Result<(Exit, Vec<Value>), Failure> {
    let (mut exit, mut outcomes) = (Exit::OK, Vec::new());
    for check in checks {
        let input = Bytes::from(bundle.as_bytes().to_vec());
        let request = call(check.what.clone(), Purpose::Use, Some(input));
        interrupt.watch_next();
        let outcome = run::ended(daemon, interrupt, request);
        let is_pressed = interrupt.ended();
        let is_last = is_pressed || outcome.as_ref().is_err_and(Failure::is_in_doubt);
        let (own, outcome) = match outcome {
            Ok(report) => on_end(form, check, &report)?,
            Err(failure) => on_failure(form, check, &failure)?,
        };
        outcomes.push(outcome);
        if exit == Exit::OK {
            exit = match own {
                Exit::OK if is_pressed => Exit::INTERRUPTED,
                own => own,
            };
        }
        if is_last {
            break;
        }
    }
    Ok((exit, outcomes))
}

fn on_end(form: Form, check: &CallText, report: &JobReport) -> Result<(Exit, Value), Failure> {
    if form == Form::Text {
        output::page(&page::ended_check(&check.text, report))?;
    }
    job_end::notes(report);
    let result = JobResult {
        command: check.text.clone(),
        ..JobResult::from(report)
    };
    Ok((Exit::of_job(report), json!(result)))
}

fn on_failure(form: Form, check: &CallText, failure: &Failure) -> Result<(Exit, Value), Failure> {
    let how = match failure.is_in_doubt() {
        true => "no answer",
        false => "refused",
    };
    if form == Form::Text {
        output::page(&page::check(&check.text, how))?;
    }
    let (exit, refusal) = failure.tell();
    Ok((exit, json!({ "command": check.text, "error": refusal })))
}
