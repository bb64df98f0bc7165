//! `remit stop`: end a job, and see it gone.

use nix::unistd::geteuid;
use remit_common::admin::{AdminReply, AdminRequest, AnyJob};
use remit_common::names::JobId;
use remit_common::outcome::JobReport;
use remit_common::result::JobResult;
use serde_json::Value;

use super::jobs;
use crate::admin;
use crate::app::Context;
use crate::args::StopArgs;
use crate::daemon::Daemon;
use crate::ending::Ended;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Form};

/// Asks for the end of the job and waits for it: as an administrator where it is another's, else as its owner.
pub fn stop(context: &Context, args: &StopArgs) -> Result<Exit, Failure> {
    if is_for_administrators(context, args.id) {
        let job = anybodys(context, args)?;
        return tell(context.form, job.job, Ended::from(&job), || {
            Ok(jobs::any(&job))
        });
    }
    let report = own(context, args)?;
    tell(context.form, report.job, Ended::from(&report), || {
        serde_json::to_value(JobResult::from(&report))
    })
}

/// Whether the caller is an administrator and the job is not known to be the caller's own. Looked up before anything
/// is asked: to ask for another's as if it were one's own is a refusal, and the audit trail would tell of it.
fn is_for_administrators(context: &Context, id: JobId) -> bool {
    let own = |job: &AnyJob| job.job == id && job.uid == geteuid().as_raw();
    match jobs::everybodys(context) {
        Ok(Some((jobs, _))) => !jobs.iter().any(own),
        // What is wrong with that socket is no reason not to stop a job of one's own.
        Ok(None) | Err(_) => false,
    }
}

fn own(context: &Context, args: &StopArgs) -> Result<JobReport, Failure> {
    Daemon::connect(&context.runtime)?.stop(args.id, args.signal)
}

/// The job as it ended, whosever it was.
fn anybodys(context: &Context, args: &StopArgs) -> Result<AnyJob, Failure> {
    let stop = AdminRequest::Stop {
        job: args.id,
        signal: args.signal,
    };
    admin::ask(context, stop, |reply| match reply {
        AdminReply::Stopped(job) => Some(*job),
        _ => None,
    })
}

fn tell(
    form: Form,
    job: JobId,
    ended: Ended<'_>,
    json: impl FnOnce() -> serde_json::Result<Value>,
) -> Result<Exit, Failure> {
    match form {
        Form::Json => output::json(&json().map_err(std::io::Error::other)?)?,
        Form::Text => output::text(&format!("{job} ended: {}\n", ended.account()))?,
    }
    match ended.doubt() {
        None => Ok(Exit::OK),
        Some(doubt) => {
            output::note(doubt);
            Ok(Exit::REFUSED)
        }
    }
}
