//! A draft's complete content, for display and its approval's digest. A new field is added here, or gets a reason why not.

use remit_common::names::JobId;

use super::{BoundCall, Call, Draft};
use crate::identity::peer::Subject;
use crate::request::validated::Sealed;

#[derive(Clone, Copy, Debug)]
pub struct Whole<'a> {
    pub job: JobId,
    pub subject: &'a Subject,
    pub path: &'a [std::ffi::CString],
    pub bound: &'a BoundCall,
    pub name: Option<&'a str>,
    pub reason: Option<&'a str>,
    /// The name that the client gives itself. It has no effect on what runs.
    pub client: &'a str,
    pub script: Option<Content>,
    pub stdin: Option<Content>,
}

#[derive(Clone, Copy, Debug)]
pub struct Content {
    pub size: usize,
    pub sha256: [u8; 32],
}

impl Draft {
    pub fn whole(&self) -> Whole<'_> {
        let Self {
            job,
            requester,
            path,
            bound,
            call,
            // Its stage, and positions in queues and tables.
            life: _,
            number: _,
            waited: _,
            held: _,
            // One uid of a range. Which one has no effect on what the job may do.
            uid: _,
            // Holds nothing of a job.
            ready: _,
            // A name by which a client finds its request again.
            request: _,
            // An argument names it.
            kept: _,
            // It has none before its start.
            pack: _,
        } = self;
        let Call {
            script,
            stdin,
            client,
            // Part of `bound`.
            what: _,
            cwd: _,
            env: _,
            profile: _,
            runtime_s: _,
            // Its words are. What the call follows has no effect on what runs.
            own: _,
            // Returned by the two calls below.
            purpose: _,
            // As the fields of the draft.
            held: _,
            request_id: _,
            // A name for records. It has no effect on what runs.
            traceparent: _,
            // A claim about requests on other hosts, which this one cannot check. It has no effect on what runs.
            set: _,
            // A claim about a person. It has no effect on what runs.
            behalf: _,
            // A hash of fields that are all here.
            content: _,
            file_change: _,
            plan_digest: _,
            // By what the rules were asked. `does` has what is put back.
            undone: _,
            shadow: _,
        } = call;
        Whole {
            job: *job,
            subject: &requester.subject,
            path,
            bound,
            name: call.named(),
            reason: call.reason(),
            client,
            script: script.as_ref().map(Content::of),
            stdin: stdin.as_ref().map(Content::of),
        }
    }
}

impl Content {
    fn of(sealed: &Sealed) -> Self {
        let Sealed {
            fd: _,
            size,
            sha256,
            // For the record.
            start: _,
        } = sealed;
        Self {
            size: *size,
            sha256: *sha256,
        }
    }
}
