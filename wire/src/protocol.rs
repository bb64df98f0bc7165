use remit_common::behalf::Behalf;
use remit_common::bounded_vec;
use remit_common::names::{JobId, SetId};
use remit_common::refusal::{Code, Refusal};
pub use remit_common::wire::{
    Access, AccessReport, Asked, Bytes, CommandView, Effect, Goodbye, GrantView, HistoryEntry,
    HistoryPage, HistoryQuery, Kind, ProfileView, Purpose,
};
use remit_plan::Upload;
use serde::{Deserialize, Serialize};

use crate::host::{HostChanges, HostReport, Section, Since, SnapshotMark};
use crate::outcome::{Followed, JobReport, JobSummary, OutputPart, QueuePosition, Stream};

/// Protocol version; both sides must have the same.
pub const PROTOCOL: u16 = 13;

/// What the object of [`other_protocol`] begins with.
const OTHER_PROTOCOL: &str = "protocol ";

/// Refuses a client that speaks protocol `client`. The code is none that counts against the user: the request is not wrong.
#[must_use]
pub fn other_protocol(client: u16) -> Refusal {
    let refusal = |message: &str| {
        let message = format!("{message}: it speaks protocol {client}, remitd {PROTOCOL}");
        let object = format!("{OTHER_PROTOCOL}{PROTOCOL}");
        Refusal::new(Code::DaemonUnavailable, message).object(object)
    };
    match client < PROTOCOL {
        true => refusal("this program is older than remitd").next(
            "start this program again (in an MCP client: reconnect or restart this server), because an upgrade does \
             not replace a program that runs",
        ),
        false => refusal("this program is newer than remitd")
            .lift("systemctl restart remitd")
            .next("install the same release of both, and restart remitd"),
    }
}

/// Returns the daemon's protocol if the refusal is [`other_protocol`].
#[must_use]
pub fn protocol_of_daemon(refusal: &Refusal) -> Option<u16> {
    let object = refusal.object.as_deref()?;
    let number = object.strip_prefix(OTHER_PROTOCOL)?.parse().ok()?;
    (refusal.code == Code::DaemonUnavailable).then_some(number)
}

// Most messages are calls, and a client has few at a time.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromClient {
    /// First message, sent once.
    Hello(Hello),
    Call {
        /// Chosen by the client; must differ from the ids of all calls in flight.
        id: u32,
        request: Request,
    },
    /// Ends the wait for a call. A job that it started continues.
    Forget { id: u32 },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToClient {
    Welcome {
        protocol: u16,
        release: String,
    },
    /// A call still waits. Sent at most once a second per call.
    Progress {
        id: u32,
        progress: Progress,
    },
    Reply {
        id: u32,
        reply: Result<Reply, Refusal>,
    },
    /// The daemon closes the connection for this reason.
    Goodbye(Refusal),
}

/// Identity that a client claims. It is never trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: u16,
    /// Name and version of the client program, at most [`remit_common::caps::CLIENT_NAME`] bytes.
    pub client: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Runs a program or script and waits for it for a while.
    Run(Run),
    /// Returns what the caller may do, or whether one run is allowed.
    Access(Access),
    /// Returns facts about the machine.
    Host {
        /// Sections; the default set if empty.
        sections: Vec<Section>,
    },
    /// Returns the caller's jobs, newest first.
    Jobs { limit: u32 },
    /// Returns one job of the caller: state, wait, page or search.
    Job(JobQuery),
    /// Follows the output of one job of the caller.
    Follow(Follow),
    /// Ends a job of the caller.
    Stop {
        job: JobId,
        /// First signal, SIGTERM if absent. SIGKILL follows after a grace period.
        signal: Option<i32>,
    },
    /// Returns the caller's history, newest first.
    History(HistoryQuery),
    /// Returns what of the machine changed.
    HostChanges(Since),
    /// Returns the kept snapshots of the machine, newest first.
    Snapshots,
    /// Keeps a part of a file that a plan can name. Without bytes it only asks how much is there.
    Upload(UploadPart),
    /// Forgets the copy of the machine that a job of the caller left.
    DropCopy { job: JobId },
}

/// The parts of a file come one after the other; what is there is not sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadPart {
    pub upload: Upload,
    pub offset: u64,
    /// At most [`remit_common::caps::UPLOAD_PART`].
    pub bytes: Bytes,
}

/// A program, script or named command to run in a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub what: What,
    /// Working directory, `/` if absent. Opened inside the sandbox.
    pub cwd: Option<Bytes>,
    /// Variables in addition to the daemon's. Only names that the policy permits.
    #[serde(deserialize_with = "bounded_vec::env")]
    pub env: Vec<(Bytes, Bytes)>,
    /// Standard input; `/dev/null` if absent.
    pub stdin: Option<Bytes>,
    /// Profile; `read` if absent.
    pub profile: Option<String>,
    /// Milliseconds that the call waits, at most [`remit_common::caps::WAIT_MS`].
    pub wait_ms: Option<u32>,
    /// Maximum run time in seconds, at most [`remit_common::caps::RUNTIME_S`].
    pub max_runtime_s: Option<u32>,
    /// Id of the request. For one uid, the same id with the same content is the same job, until that job is forgotten:
    /// [`remit_common::caps::ENDED_PER_UID`] newer changes of the uid have ended, or, for a job that only looks, other jobs.
    pub request_id: Option<String>,
    pub purpose: Purpose,
    /// The caller's trace (W3C Trace Context, `traceparent`), for the audit log.
    pub traceparent: Option<String>,
    /// The set of one call for many hosts, for records and lists. A claim that decides nothing.
    pub set: Option<SetId>,
    /// Whom the caller says it acts for. A claim that decides nothing.
    pub behalf: Option<Behalf>,
}

impl Run {
    /// Returns a run that has nothing but what it must: no bound, no claim, no id, and the daemon's own defaults.
    #[must_use]
    pub const fn new(what: What, purpose: Purpose) -> Self {
        Self {
            what,
            cwd: None,
            env: Vec::new(),
            stdin: None,
            profile: None,
            wait_ms: None,
            max_runtime_s: None,
            request_id: None,
            purpose,
            traceparent: None,
            set: None,
            behalf: None,
        }
    }
}

/// Program, script or command of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// A program with its arguments. `argv[0]` without a slash is searched on the daemon's PATH.
    Argv(#[serde(deserialize_with = "bounded_vec::argv")] Vec<Bytes>),
    /// A script, passed to the interpreter as a file.
    Script {
        text: Bytes,
        /// Program name or path; `sh` if absent.
        interpreter: Option<Bytes>,
    },
    /// A named command, built in ([`remit_common::builtin`]) or from the policy. It takes no cwd; env and stdin as defined.
    Named {
        name: String,
        /// Argument names with values. A repeated argument has one entry for each value.
        #[serde(deserialize_with = "bounded_vec::named")]
        args: Vec<(String, String)>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobQuery {
    pub job: JobId,
    /// Milliseconds to wait for its end, at most [`remit_common::caps::WAIT_MS`].
    pub wait_ms: u32,
    /// Part of its output to return.
    pub part: Option<PartQuery>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartQuery {
    Page(PageQuery),
    Grep(GrepQuery),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrepQuery {
    pub stream: Stream,
    /// Regular expression per line, without look-around and back-references; at most [`remit_common::caps::PATTERN`] bytes.
    pub pattern: String,
    /// First byte: the search starts with the line that begins here or later.
    pub offset: u64,
    /// Maximum number of matching lines, at most [`remit_common::caps::GREP_MATCHES`].
    pub limit: u32,
    /// Lines shown before and after each match, at most [`remit_common::caps::GREP_CONTEXT`].
    pub context: u32,
}

/// A request for new output of a job. The answer comes with new output, at the end of the job, or at the timeout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follow {
    pub job: JobId,
    /// Bytes of standard output that the caller has already.
    pub stdout: u64,
    pub stderr: u64,
    /// Timeout in milliseconds, at most [`remit_common::caps::WAIT_MS`].
    pub wait_ms: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageQuery {
    pub stream: Stream,
    /// First byte; ignored with `tail`.
    pub offset: u64,
    /// Maximum number of bytes, at most [`remit_common::caps::PAGE`].
    pub limit: u32,
    pub tail: bool,
    /// Never ends inside a UTF-8 code point, unless no other byte fits.
    pub whole_characters: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub elapsed_ms: u64,
    #[serde(rename = "place")]
    pub queue_position: Option<QueuePosition>,
    pub output_bytes: u64,
    /// Last complete line of output, printable, at most 200 bytes.
    pub last_line: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To run, job and stop.
    Job {
        report: Box<JobReport>,
        part: Option<OutputPart>,
    },
    Followed(Box<Followed>),
    Jobs(Vec<JobSummary>),
    Access(AccessReport),
    Host(Box<HostReport>),
    History(HistoryPage),
    HostChanges(Box<HostChanges>),
    Snapshots(Vec<SnapshotMark>),
    /// Bytes of the upload that are there. All of them: their hash is right.
    Uploaded(u64),
    /// Bytes of memory that the copy took.
    Dropped(u64),
}

#[cfg(test)]
mod tests {
    use super::*;
    use remit_common::caps;
    use remit_common::frame::{HEADER, decode, encode};
    use remit_common::refusal::Code;

    fn there_and_back(request: Request) -> Request {
        let frame = encode(&FromClient::Call { id: 1, request }, caps::FRAME).unwrap();
        match decode(&frame[HEADER..]).unwrap() {
            FromClient::Call { request, .. } => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lists_keep_one_element_above_cap() {
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
            set: None,
            behalf: None,
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

    #[test]
    fn client_of_another_protocol_learns_which_side_is_old() {
        for (client, words, way) in [
            (PROTOCOL - 1, "older than remitd", "reconnect"),
            (PROTOCOL + 1, "newer than remitd", "restart remitd"),
        ] {
            let refusal = other_protocol(client);
            assert!(refusal.message.contains(words), "{refusal}");
            assert!(refusal.to_string().contains(way), "{refusal}");
            assert!(!refusal.code.is_of_request(), "it would pause the user");
            assert_eq!(protocol_of_daemon(&refusal), Some(PROTOCOL));
        }
        let socket = Refusal::new(Code::DaemonUnavailable, "x").object("/run/remit/remit.sock");
        assert_eq!(protocol_of_daemon(&socket), None);
    }

    #[test]
    fn goodbye_of_the_warden_is_read_as_goodbye() {
        let refusal = Refusal::new(Code::Busy, "too many").object("sessions");
        let sent = encode(&Goodbye::new(refusal.clone()), caps::FRAME).unwrap();
        let read: ToClient = decode(&sent[HEADER..]).unwrap();
        assert_eq!(read, ToClient::Goodbye(refusal));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
            let _ = decode::<FromClient>(&bytes);
            let _ = decode::<ToClient>(&bytes);
        }
    }
}
