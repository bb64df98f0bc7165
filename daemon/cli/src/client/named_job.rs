//! Finds the job that a user names. Candidates are the caller's own jobs, for administrators all jobs: nobody learns
//! of a job that is not listed to them.

use nix::unistd::geteuid;
use remit_common::admin::AnyJob;
use remit_common::client::ClientError;
use remit_common::id_prefix::IdPrefix;
use remit_common::names::JobId;
use remit_common::refusal::Refusal;
use remit_common::wire::{Reply, Request};

use crate::client::admin_socket;
use crate::client::user_socket::Daemon;
use crate::context::Context;
use crate::error::Failure;
use crate::render::decided;

pub enum NamedJob {
    /// The caller's own, with a connection to ask about it.
    Own(Box<Daemon>, JobId),
    /// Another user's; the caller is an administrator.
    Other(AnyJob),
}

/// Asks the administrators' socket first if the caller may: a request about another's job on the users' socket is
/// refused and recorded in the audit log.
pub fn find(context: &Context, id: &IdPrefix) -> Result<NamedJob, Failure> {
    let listed = match admin_socket::may_ask(context) {
        true => decided::ask(context, id.clone(), false),
        false => return own(context, id),
    };
    match listed {
        Ok(job) if job.uid == geteuid().as_raw() => {
            let daemon = Daemon::connect(&context.runtime)?;
            Ok(NamedJob::Own(Box::new(daemon), job.job))
        }
        Ok(job) => Ok(NamedJob::Other(job)),
        Err(refused @ Failure::Client(ClientError::Refused(_))) => Err(refused),
        // A fault of that socket must not hide the caller's own jobs.
        Err(_) => own(context, id),
    }
}

fn own(context: &Context, id: &IdPrefix) -> Result<NamedJob, Failure> {
    let mut daemon = Daemon::connect(&context.runtime)?;
    let job = match id.whole() {
        Some(job) => job,
        None => {
            let Reply::Jobs(jobs) = daemon.call(Request::Jobs { limit: u32::MAX })? else {
                return Err(Failure::off_protocol());
            };
            let found = id.choose(jobs, |job| job.job_id)?;
            found.ok_or_else(Refusal::no_such_job)?.job_id
        }
    };
    Ok(NamedJob::Own(Box::new(daemon), job))
}
