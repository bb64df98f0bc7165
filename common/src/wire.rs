//! What clients and the daemon say to each other on `remit.sock`.
//!
//! A client says [`FromClient::Hello`] first and gets [`ToClient::Welcome`] or
//! [`ToClient::Goodbye`]. After that it may have several calls in flight, told
//! apart by ids of its own choice. postcard is not self-describing: any change
//! of these types is a new [`PROTOCOL`].

mod access;
mod few;
mod history;

use serde::{Deserialize, Serialize};
pub use serde_bytes::ByteBuf as Bytes;

pub use self::access::{Access, AccessReport, Asked, CommandView, Effect, GrantView, ProfileView};
pub use self::history::{HistoryEntry, HistoryPage, HistoryQuery, Kind};

use crate::host::{HostReport, Section};
use crate::names::JobId;
use crate::outcome::{Followed, JobReport, JobSummary, Part, Place, Stream};
use crate::refusal::Refusal;

/// The version of this protocol; both sides must speak the same.
pub const PROTOCOL: u16 = 6;

/// A message from a client.
// Nearly all are calls, of which a client has a few.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromClient {
    /// The first message, once.
    Hello(Hello),
    /// A call. Its id must not be one of a call still in flight.
    Call {
        /// Chosen by the client.
        id: u32,
        /// What is wanted.
        request: Request,
    },
    /// The client no longer waits for this call; a job that it started goes on.
    Forget {
        /// The call's id.
        id: u32,
    },
}

/// A message to a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToClient {
    /// The answer to a hello.
    Welcome {
        /// The daemon's protocol.
        protocol: u16,
        /// The daemon's release.
        release: String,
    },
    /// A call is still waiting. At most one a second for each call.
    Progress {
        /// The call's id.
        id: u32,
        /// How far it is.
        progress: Progress,
    },
    /// The answer to a call.
    Reply {
        /// The call's id.
        id: u32,
        /// The answer.
        reply: Result<Reply, Refusal>,
    },
    /// The daemon ends the connection, and why.
    Goodbye(Refusal),
}

/// Who a client says it is. Claimed, never believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The protocol the client speaks.
    pub protocol: u16,
    /// Name and version of the client program, at most [`crate::caps::CLIENT_NAME`] bytes.
    pub client: String,
}

/// What a client may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Run a program or script and wait a while for it.
    Run(Run),
    /// What may I do; would this be allowed.
    Access(Access),
    /// Facts about the machine.
    Host {
        /// Which; empty means the default set.
        sections: Vec<Section>,
    },
    /// My jobs, newest first.
    Jobs {
        /// At most this many.
        limit: u32,
    },
    /// One job of mine: state, wait, page, search.
    Job(JobQuery),
    /// What one job of mine writes, as it comes.
    Follow(Follow),
    /// End a job of mine.
    Stop {
        /// Which.
        job: JobId,
        /// The signal to send first; TERM when absent. KILL follows after a grace.
        signal: Option<i32>,
    },
    /// What I have done here, newest first.
    History(HistoryQuery),
}

/// A program, script or named command to run in a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// What to run.
    pub what: What,
    /// Where; `/` when absent. Opened inside the sandbox.
    pub cwd: Option<Bytes>,
    /// Variables beyond the daemon's own; only names that policy permits.
    #[serde(deserialize_with = "few::env")]
    pub env: Vec<(Bytes, Bytes)>,
    /// Standard input; `/dev/null` when absent.
    pub stdin: Option<Bytes>,
    /// The profile; `read` when absent.
    pub profile: Option<String>,
    /// How long the call waits, at most [`crate::caps::WAIT_MS`].
    pub wait_ms: Option<u32>,
    /// How long the job may run, at most [`crate::caps::RUNTIME_S`].
    pub max_runtime_s: Option<u32>,
    /// The same id with the same content is the same job, for one uid.
    pub request_id: Option<String>,
    /// By what right.
    pub purpose: Purpose,
    /// The caller's trace (W3C Trace Context, `traceparent`), for the records.
    pub traceparent: Option<String>,
}

/// By what right something runs, and to what end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// To look: policy must grant it, and a named command must have the effect `read`.
    #[default]
    Use,
    /// To change the host: a named command of the effect `change`, which policy must grant.
    Change {
        /// Why, in the caller's words: 1 to [`crate::caps::REASON`] bytes.
        reason: String,
    },
    /// Root tries what a profile does; no grant is needed and no denial asked.
    Try,
}

/// What a run executes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// A program with its arguments. `argv[0]` without a slash is looked up on the daemon's PATH.
    Argv(#[serde(deserialize_with = "few::argv")] Vec<Bytes>),
    /// A script, given to the interpreter as a file.
    Script {
        /// Its bytes.
        text: Bytes,
        /// Program name or path; `sh` when absent.
        interpreter: Option<Bytes>,
    },
    /// A command by its name: one of the daemon's own ([`crate::builtin`]) or of the policy's. It
    /// takes no cwd, and env and stdin only as its definition says.
    Named {
        /// Its name.
        name: String,
        /// Its arguments: names with values; a name comes again for each value of a repeated one.
        #[serde(deserialize_with = "few::named")]
        args: Vec<(String, String)>,
    },
}

/// A question about one job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobQuery {
    /// Which.
    pub job: JobId,
    /// How long to wait for its end, at most [`crate::caps::WAIT_MS`].
    pub wait_ms: u32,
    /// A part of its output.
    pub part: Option<PartQuery>,
}

/// Which part of a job's output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartQuery {
    /// A page.
    Page(PageQuery),
    /// Lines that match a pattern.
    Grep(GrepQuery),
}

/// Which lines of a job's output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrepQuery {
    /// Of this stream.
    pub stream: Stream,
    /// A regular expression of the linear kind (no look-around, no back-references), matched
    /// against each line; at most [`crate::caps::PATTERN`] bytes.
    pub pattern: String,
    /// From the line on that begins at this byte or after it.
    pub offset: u64,
    /// At most this many lines that match, itself at most [`crate::caps::GREP_MATCHES`].
    pub limit: u32,
    /// Lines shown before and after each, at most [`crate::caps::GREP_CONTEXT`].
    pub context: u32,
}

/// A question about what a job writes from some byte on. It is answered as soon as there is
/// more, or the job has ended, or the time is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follow {
    /// Which.
    pub job: JobId,
    /// The bytes of standard output that are known already.
    pub stdout: u64,
    /// The bytes of standard error that are known already.
    pub stderr: u64,
    /// How long to wait, at most [`crate::caps::WAIT_MS`].
    pub wait_ms: u32,
}

/// A page of a job's output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageQuery {
    /// Of this stream.
    pub stream: Stream,
    /// From this byte on; with `tail`, ignored.
    pub offset: u64,
    /// At most this many bytes, itself at most [`crate::caps::PAGE`].
    pub limit: u32,
    /// The last `limit` bytes.
    pub tail: bool,
    /// Never end inside a UTF-8 code point (unless no other byte would fit).
    pub whole_characters: bool,
}

/// How far a waiting call is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Milliseconds since the job started.
    pub elapsed_ms: u64,
    /// Its place in the queue, while it waits.
    pub place: Option<Place>,
    /// Bytes of output so far, both streams.
    pub output_bytes: u64,
    /// The last whole line of output, at most 200 bytes, made printable.
    pub last_line: String,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To run, job and stop.
    Job {
        /// The job as it is now.
        report: Box<JobReport>,
        /// The part of its output asked for.
        part: Option<Part>,
    },
    /// To follow.
    Followed(Box<Followed>),
    /// To jobs.
    Jobs(Vec<JobSummary>),
    /// To access.
    Access(AccessReport),
    /// To host.
    Host(Box<HostReport>),
    /// To history.
    History(HistoryPage),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caps;
    use crate::frame::{HEADER, decode, encode};

    fn there_and_back(request: Request) -> Request {
        let frame = encode(&FromClient::Call { id: 1, request }, caps::FRAME).unwrap();
        match decode(&frame[HEADER..]).unwrap() {
            FromClient::Call { request, .. } => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lists_come_back_up_to_their_cap_and_show_when_they_exceed_it() {
        for (sent, kept) in [
            (0, 0),
            (1, 1),
            (caps::ARGV_COUNT, caps::ARGV_COUNT),
            (caps::ARGV_COUNT + 1, caps::ARGV_COUNT + 1),
            (1_000_000, caps::ARGV_COUNT + 1),
        ] {
            let argv = Some(vec![Bytes::new(); sent]);
            let profile = Some("after it".to_owned());
            let asked = there_and_back(Request::Access(Access {
                argv,
                profile: profile.clone(),
                name: None,
                query: None,
            }));
            let expect = Access {
                argv: Some(vec![Bytes::new(); kept]),
                profile,
                name: None,
                query: None,
            };
            assert_eq!(asked, Request::Access(expect), "{sent}");
        }
        let run = Run {
            traceparent: None,
            what: What::Argv(vec![Bytes::from(b"a".to_vec()), Bytes::new()]),
            cwd: None,
            env: vec![(Bytes::from(b"A".to_vec()), Bytes::from(b"b".to_vec()))],
            stdin: Some(Bytes::new()),
            profile: None,
            wait_ms: Some(1),
            max_runtime_s: None,
            request_id: None,
            purpose: Purpose::Try,
        };
        assert_eq!(
            there_and_back(Request::Run(run.clone())),
            Request::Run(run.clone())
        );
        for (sent, kept) in [(1, 1), (1000, caps::NAMED_ARGS + 1)] {
            let named = |count| Run {
                what: What::Named {
                    name: "logs".into(),
                    args: vec![("a".into(), "b".into()); count],
                },
                ..run.clone()
            };
            let back = there_and_back(Request::Run(named(sent)));
            assert_eq!(back, Request::Run(named(kept)), "{sent}");
        }
        let none = Access {
            argv: None,
            profile: None,
            name: None,
            query: None,
        };
        assert_eq!(
            there_and_back(Request::Access(none.clone())),
            Request::Access(none)
        );
    }
}
