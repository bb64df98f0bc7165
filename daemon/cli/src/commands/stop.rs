//! `remit stop`: stops a job and waits for its end.

use remit_common::admin::{AdminReply, AdminRequest, AnyJob};
use remit_common::names::JobId;
use remit_common::result::JobResult;
use serde_json::Value;

use super::jobs;
use crate::args::StopArgs;
use crate::client::admin_socket;
use crate::client::named_job::{self, NamedJob};
use crate::context::Context;
use crate::error::Failure;
use crate::exit::Exit;
use crate::render::job_end::Ended;
use crate::render::output::{self, Form};

/// Uses the administrators' socket for another user's job, otherwise the users' socket.
pub fn stop(context: &Context, args: &StopArgs) -> Result<Exit, Failure> {
    match named_job::find(context, &args.id)? {
        NamedJob::Other(job) => {
            let job = stop_as_administrator(context, job.job, args.signal)?;
            tell(context.form, job.job, Ended::from(&job), || {
                Ok(jobs::any(&job))
            })
        }
        NamedJob::Own(mut daemon, job) => {
            let report = daemon.stop(job, args.signal)?;
            tell(context.form, report.job, Ended::from(&report), || {
                serde_json::to_value(JobResult::from(&report))
            })
        }
    }
}

fn stop_as_administrator(
    context: &Context,
    job: JobId,
    signal: Option<i32>,
) -> Result<AnyJob, Failure> {
    let stop = AdminRequest::Stop { job, signal };
    admin_socket::ask(context, stop, |reply| match reply {
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
