//! `remit stop`: end a job, and see it gone.

use remit_common::result::JobResult;
use remit_common::wire::Request;

use crate::app::Context;
use crate::args::StopArgs;
use crate::daemon::Daemon;
use crate::ending;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Form};

/// Asks for the end of the job and waits for it.
pub fn stop(context: &Context, args: &StopArgs) -> Result<Exit, Failure> {
    let mut daemon = Daemon::connect(&context.runtime)?;
    let report = daemon.job(Request::Stop {
        job: args.id,
        signal: args.signal,
    })?;
    let report = daemon.ended(report)?;
    match context.form {
        Form::Json => output::json(&JobResult::from(&report))?,
        Form::Text => {
            let how =
                ending::sentence(&report).unwrap_or_else(|| "the job ended by itself".to_owned());
            output::text(&format!("{}: {how}\n", report.job))?;
        }
    }
    if ending::is_unverified(&report) {
        output::note("some processes of the job may still run: their end could not be verified");
        return Ok(Exit::REFUSED);
    }
    Ok(Exit::OK)
}
