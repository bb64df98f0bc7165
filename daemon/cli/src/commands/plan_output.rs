//! Plans that jobs of the caller have written, and requests about them.

use remit_common::caps;
use remit_common::id_prefix::IdPrefix;
use remit_common::names::JobId;
use remit_plan::{BUNDLE_BYTES, Bundle};
use remit_wire::edits::{COMMIT, THEN};
use remit_wire::outcome::Stream;
use remit_wire::{Bytes, Purpose, Run, What, transfer};

use super::input::{claimed_behalf, claimed_trace};
use super::job::own_id;
use super::transfer::check_plan;
use crate::client::user_socket::Daemon;
use crate::error::Failure;
use crate::render::output::Context;

pub fn commit(
    context: &Context,
    id: &IdPrefix,
    then: Vec<String>,
    reason: String,
) -> Result<Run, Failure> {
    let (mut daemon, job) = own(context, id)?;
    let bundle = bundle(&mut daemon, job)?;
    check_plan(&context.runtime, bundle.plan())?;
    let bytes = Bytes::from(bundle.as_bytes().to_vec());
    Ok(request(
        COMMIT,
        follow(then).collect(),
        Purpose::Change { reason },
        Some(bytes),
    ))
}

pub fn follow(then: Vec<String>) -> impl Iterator<Item = (String, String)> {
    then.into_iter().map(|call| (THEN.to_owned(), call))
}

pub fn request(
    name: &str,
    args: Vec<(String, String)>,
    purpose: Purpose,
    stdin: Option<Bytes>,
) -> Run {
    let name = name.to_owned();
    call(What::Named { name, args }, purpose, stdin)
}

pub fn call(what: What, purpose: Purpose, stdin: Option<Bytes>) -> Run {
    Run {
        traceparent: claimed_trace(),
        behalf: claimed_behalf(),
        stdin,
        ..Run::new(what, purpose)
    }
}

/// Returns the plan that a job has written. Any other output is refused.
pub fn bundle(daemon: &mut Daemon, job: JobId) -> Result<Bundle, Failure> {
    let mut bytes = Vec::new();
    let is_cut = loop {
        let at = bytes.len() as u64;
        let page = daemon.page(job, Stream::Stdout, at, caps::PAGE as u64)?;
        bytes.extend_from_slice(&page.bytes);
        let is_cut = (bytes.len() as u64) < page.total;
        if page.eof || page.bytes.is_empty() || !is_cut || bytes.len() > BUNDLE_BYTES {
            break is_cut;
        }
    };
    match Bundle::decode(bytes) {
        Ok(bundle) => Ok(bundle),
        Err(error) => {
            let report = daemon.report(job)?;
            Err(Failure::Input(transfer::no_plan(&report, is_cut, error)))
        }
    }
}

pub fn own(context: &Context, id: &IdPrefix) -> Result<(Daemon, JobId), Failure> {
    let mut daemon = Daemon::connect(&context.runtime)?;
    let job = own_id(&mut daemon, id)?;
    Ok((daemon, job))
}
