//! Plans that jobs of the caller have written, and requests about them.

use std::io::{self, BufReader, Read};

use remit_common::caps;
use remit_common::id_prefix::IdPrefix;
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_plan::{BUNDLE_BYTES, Bundle};
use remit_wire::edits::{COMMIT, THEN};
use remit_wire::outcome::Stream;
use remit_wire::{Bytes, Purpose, Run, What};

use super::input::claimed_trace;
use super::job::own_id;
use super::transfer::{check_plan, send};
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
    if let Some(pack) = bundle.plan().pack() {
        let at = bundle.as_bytes().len() as u64;
        let output = JobOutput { daemon, job, at };
        let mut output = BufReader::with_capacity(caps::PAGE, output);
        send(&context.runtime, pack, &mut output)?;
    }
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
        what,
        cwd: None,
        env: Vec::new(),
        stdin,
        profile: None,
        wait_ms: None,
        max_runtime_s: None,
        request_id: None,
        purpose,
    }
}

/// Standard output of a job, from a byte on.
struct JobOutput {
    daemon: Daemon,
    job: JobId,
    at: u64,
}

impl Read for JobOutput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(caps::PAGE) as u64;
        let page = self.daemon.page(self.job, Stream::Stdout, self.at, most);
        let page =
            page.map_err(|_| io::Error::other("its output is not kept any more; plan again"))?;
        let part = buffer.get_mut(..page.bytes.len());
        part.ok_or(io::ErrorKind::InvalidData)?
            .copy_from_slice(&page.bytes);
        self.at += page.bytes.len() as u64;
        Ok(page.bytes.len())
    }
}

/// Returns the plan that a job has written. Any other output is refused. What follows it is a pack of the plan.
pub fn bundle(daemon: &mut Daemon, job: JobId) -> Result<Bundle, Failure> {
    let mut bytes = Vec::new();
    loop {
        let at = bytes.len() as u64;
        let page = daemon.page(job, Stream::Stdout, at, caps::PAGE as u64)?;
        bytes.extend_from_slice(&page.bytes);
        let is_all = page.eof || page.bytes.is_empty() || bytes.len() as u64 >= page.total;
        if is_all || bytes.len() > BUNDLE_BYTES {
            break;
        }
    }
    let decoded = Bundle::decode_start(bytes).map(|(bundle, _)| bundle);
    decoded.map_err(|error| {
        let why = format!("the output of job {} is no plan: {error}", job.short());
        let next = "'remit plan' makes one, and says its id";
        Failure::Input(Refusal::new(Code::InvalidArgs, why).next(next))
    })
}

pub fn own(context: &Context, id: &IdPrefix) -> Result<(Daemon, JobId), Failure> {
    let mut daemon = Daemon::connect(&context.runtime)?;
    let job = own_id(&mut daemon, id)?;
    Ok((daemon, job))
}
