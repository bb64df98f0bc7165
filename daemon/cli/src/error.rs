//! Errors of verbs: message, exit status and JSON form.

use std::io;

use remit_common::frame::FrameError;
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_wire::client::ClientError;

#[derive(Debug)]
pub enum Failure {
    /// Bad arguments; also `--help` and `--version`, which clap reports as errors.
    Usage(clap::Error),
    Client(ClientError),
    Input(Refusal),
    Machine(Refusal),
    NotApproved(&'static str),
    NotRoot(&'static str),
    NotAllowed(Refusal),
    /// The reader of our output is gone. Nothing is printed.
    Gone,
    /// As `Gone`, while this job runs. The job continues.
    Unread(JobId),
    Output(io::Error),
    /// Requested output is no longer kept; says how much.
    Lost(String),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Client(ClientError::Refused(refusal))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Gone,
            _ => Self::Output(error),
        }
    }
}

impl Failure {
    pub fn off_protocol() -> Self {
        Self::Client(ClientError::Broken(FrameError::Malformed))
    }

    pub fn is_in_doubt(&self) -> bool {
        match self {
            Self::Client(ClientError::Refused(refusal)) => refusal.code == Code::DaemonUnavailable,
            Self::Client(_) | Self::Output(_) => true,
            _ => false,
        }
    }
}

/// Replaces names of MCP tools by verbs: agents call tools, people type verbs.
pub fn typed(next: &str) -> String {
    const TOOLS: [(&str, &str); 6] = [
        (", or the tool job without an id,", ""),
        (", or the tool access,", ""),
        ("call access", "run 'remit access'"),
        (
            "call run with the name",
            "use 'remit run --name' with the name",
        ),
        (
            "call change with the name",
            "use 'remit change' with the name",
        ),
        ("call change again", "run 'remit change' again"),
    ];
    TOOLS.iter().fold(next.to_owned(), |next, (tool, verb)| {
        next.replace(tool, verb)
    })
}

pub fn in_our_words(refusal: &Refusal) -> Refusal {
    Refusal {
        next: refusal.next.as_deref().map(typed),
        ..refusal.clone()
    }
}
