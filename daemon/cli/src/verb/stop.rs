//! `remit stop`: end a job, and see it gone.

use remit_common::admin::{AdminReply, AdminRequest, AnyJob};
use remit_common::client::{self, ClientError};
use remit_common::names::JobId;
use remit_common::outcome::JobReport;
use remit_common::refusal::Code;
use remit_common::result::JobResult;
use serde_json::Value;

use super::jobs;
use crate::app::Context;
use crate::args::StopArgs;
use crate::daemon::Daemon;
use crate::ending::Ended;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Form};

/// Asks for the end of the job and waits for it: of the caller's own, else as an administrator.
pub fn stop(context: &Context, args: &StopArgs) -> Result<Exit, Failure> {
    match own(context, args) {
        Ok(report) => {
            let json = || serde_json::to_value(JobResult::from(&report));
            tell(context.form, report.job, Ended::from(&report), json)
        }
        Err(why) if is_not_mine(&why) => match anybodys(context, args)? {
            Some(job) => tell(context.form, job.job, Ended::from(&job), || {
                Ok(jobs::any(&job))
            }),
            None => Err(why),
        },
        Err(why) => Err(why),
    }
}

fn own(context: &Context, args: &StopArgs) -> Result<JobReport, Failure> {
    Daemon::connect(&context.runtime)?.stop(args.id, args.signal)
}

/// The job as it ended, whosever it was; nothing for who is no administrator.
fn anybodys(context: &Context, args: &StopArgs) -> Result<Option<AnyJob>, Failure> {
    let stop = AdminRequest::Stop {
        job: args.id,
        signal: args.signal,
    };
    match client::admin(&context.runtime.admin_socket(), stop) {
        Ok(AdminReply::Stopped(job)) => Ok(Some(*job)),
        Ok(_) => Err(Failure::off_protocol()),
        Err(ClientError::NotAllowed { .. } | ClientError::NotRunning { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The daemon knows no such job of the caller, or the caller has none at all.
fn is_not_mine(why: &Failure) -> bool {
    match why {
        Failure::Client(ClientError::Refused(refusal)) => refusal.code == Code::NotFound,
        Failure::Client(ClientError::NotAllowed { .. }) => true,
        _ => false,
    }
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
