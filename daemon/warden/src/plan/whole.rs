//! All of a draft: for those who show it to a person, and for the digest of what they approve. A new
//! part of a draft is given a place here, or a reason why it has none. Pure.

use remit_common::names::JobId;

use super::call::Sealed;
use super::{Bound, Call, Draft};
use crate::peer::Subject;

/// What makes a draft what it is.
#[derive(Clone, Copy, Debug)]
pub struct Whole<'a> {
    /// The job's id.
    pub job: JobId,
    /// Who asks.
    pub subject: &'a Subject,
    /// Where a program without a slash is looked up.
    pub path: &'a [std::ffi::CString],
    /// What is executed, in which sandbox.
    pub bound: &'a Bound,
    /// The command's name, where it has one.
    pub name: Option<&'a str>,
    /// The requester's reason, where it is a change.
    pub reason: Option<&'a str>,
    /// What the requester's client calls itself. It changes nothing.
    pub client: &'a str,
    /// The script.
    pub script: Option<Content<'a>>,
    /// Standard input, where it is no secret.
    pub stdin: Option<Content<'a>>,
}

/// Bytes that the request brought.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// How many.
    pub size: usize,
    /// Of all of them.
    pub sha256: [u8; 32],
    /// How they begin: 8 KiB at most.
    pub start: &'a [u8],
}

impl Draft {
    /// All of it.
    pub fn whole(&self) -> Whole<'_> {
        let Self {
            job,
            requester,
            path,
            bound,
            call,
            // Places in queues and tables.
            number: _,
            waited: _,
            held: _,
            // One of a range; which one it is says nothing of what the job may do.
            uid: _,
            // It holds nothing of any job.
            ready: _,
            // A name by which a client finds its request again.
            request: _,
        } = self;
        let Call {
            script,
            stdin,
            client,
            // Bound.
            what: _,
            cwd: _,
            env: _,
            profile: _,
            runtime_s: _,
            // Told by the two calls below.
            purpose: _,
            // As those of the draft.
            held: _,
            request_id: _,
            // A name for records: it changes nothing of what runs.
            traceparent: _,
            // A hash of what is all here.
            content: _,
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

impl<'a> Content<'a> {
    fn of(sealed: &'a Sealed) -> Self {
        let Sealed {
            fd: _,
            size,
            sha256,
            start,
        } = sealed;
        Self {
            size: *size,
            sha256: *sha256,
            start,
        }
    }
}
