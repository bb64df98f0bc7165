//! `remit jobs`: the caller's jobs.

use remit_common::outcome::JobSummary;
use remit_common::wire::{Reply, Request};
use serde_json::json;

use crate::app::Context;
use crate::args::JobsArgs;
use crate::daemon::Daemon;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::human;
use crate::output::{self, Form};
use crate::table::Table;

/// Lists jobs, newest first.
pub fn jobs(context: &Context, args: &JobsArgs) -> Result<Exit, Failure> {
    let mut daemon = Daemon::connect(&context.runtime)?;
    let limit = args.limit;
    let Reply::Jobs(jobs) = daemon.call(Request::Jobs { limit })? else {
        return Err(Failure::off_protocol());
    };
    match context.form {
        Form::Json => output::json(&json!({ "jobs": jobs }))?,
        Form::Text => output::text(&list(&jobs))?,
    }
    Ok(Exit::OK)
}

fn list(jobs: &[JobSummary]) -> String {
    if jobs.is_empty() {
        return "no jobs\n".to_owned();
    }
    let mut table = Table::new(["JOB", "STARTED", "STATE", ">EXIT", ">OUTPUT", "COMMAND"]);
    for job in jobs {
        table.row([
            &job.job_id.to_string(),
            &human::time(job.started_ms / 1000),
            job.state.as_str(),
            &job.exit.map(|exit| exit.to_string()).unwrap_or_default(),
            &human::bytes(job.output_bytes),
            &job.command,
        ]);
    }
    table.render()
}
