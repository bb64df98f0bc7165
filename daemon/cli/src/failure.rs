//! Why a verb was not done, as its user sees it.

use std::io;
use std::path::Path;

use nix::unistd::{AccessFlags, access, geteuid};
use remit_common::client::ClientError;
use remit_common::frame::FrameError;
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use serde_json::json;

use crate::exit::Exit;
use crate::output::{self, Form};

/// Why a verb was not done.
#[derive(Debug)]
pub enum Failure {
    /// The arguments; or `--help` and `--version`, which clap reports the same way.
    Usage(clap::Error),
    /// The daemon does not answer, or refused.
    Client(ClientError),
    /// A script or standard input cannot be read, or is too large.
    Input(Refusal),
    /// Something was not done to this machine, and why.
    Machine(Refusal),
    /// Nobody confirmed what was shown, and why that is so.
    NotApproved(&'static str),
    /// This verb is root's.
    NotRoot(&'static str),
    /// This user may not read something, and who may.
    NotAllowed(Refusal),
    /// Nobody reads our output any more: said to nobody.
    Gone,
    /// The same, while this job runs: it goes on.
    Unread(JobId),
    /// Output cannot be written.
    Output(io::Error),
    /// Output of a job that was asked for is not kept: how much of it.
    Lost(String),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
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
    /// An answer that does not belong to the question.
    pub fn off_protocol() -> Self {
        Self::Client(ClientError::Broken(FrameError::Malformed))
    }

    /// Says what becomes of `job`, which is not watched any more, where that is in doubt.
    pub fn leaves(self, job: JobId) -> Self {
        if self.is_in_doubt() {
            output::note(&format!(
                "job {job} belongs to the daemon; to see what becomes of it: remit job {job} --follow"
            ));
        }
        self
    }

    /// Says how to get the job of a run whose answer never came, where it may have started.
    pub fn may_have_started(self, request_id: &str) -> Self {
        if self.is_in_doubt() {
            output::note(&format!(
                "the command may have started: 'remit jobs' lists it; to get that same job and start no other: \
                 the same line with --request-id {request_id}"
            ));
        }
        self
    }

    fn is_in_doubt(&self) -> bool {
        match self {
            Self::Client(ClientError::Refused(refusal)) => refusal.code == Code::DaemonUnavailable,
            Self::Client(_) | Self::Output(_) => true,
            _ => false,
        }
    }

    /// Says what happened: one line on stderr, and with JSON an object with the key `error`.
    pub fn report(&self, form: Form) -> Exit {
        let (exit, refusal) = match self {
            Self::Usage(error) => return usage(error),
            Self::Gone => return Exit::OK,
            Self::Unread(job) => {
                output::note(&format!(
                    "nobody reads the output any more; job {job} goes on: to stop it: remit stop {job}"
                ));
                return Exit::UNREAD;
            }
            Self::Output(error) => {
                output::note(&format!("cannot write output: {error}"));
                return Exit::OUTPUT;
            }
            Self::Lost(what) => {
                output::note(what);
                return Exit::OUTPUT;
            }
            Self::Input(refusal) => {
                output::note(&refusal.message);
                (Exit::REFUSED, refusal.clone())
            }
            Self::Machine(refusal) | Self::NotAllowed(refusal) => {
                output::note(&refusal.message);
                if let Some(lift) = &refusal.lift {
                    output::note(&format!("to go on: {lift}"));
                }
                let exit = match self {
                    Self::NotAllowed(_) => Exit::NOT_ALLOWED,
                    _ => Exit::REFUSED,
                };
                (exit, refusal.clone())
            }
            Self::NotApproved(why) => {
                let message = format!("not approved: {why}");
                output::note(&message);
                (
                    Exit::NOT_APPROVED,
                    Refusal::new(Code::NeedsApproval, message),
                )
            }
            Self::NotRoot(verb) => {
                let message = format!("'remit {verb}' is for root alone");
                output::note(&message);
                (Exit::NOT_ALLOWED, Refusal::new(Code::DeniedRule, message))
            }
            Self::Client(error) => {
                let (exit, refusal) = client(error);
                output::note(&sentence(error, &refusal));
                (exit, refusal)
            }
        };
        match form {
            Form::Text => exit,
            Form::Json => match output::json(&json!({ "error": refusal })) {
                Ok(()) => exit,
                Err(error) => error.report(Form::Text),
            },
        }
    }
}

fn usage(error: &clap::Error) -> Exit {
    // A closed stdout or stderr leaves nobody to tell.
    let _ = error.print();
    if error.use_stderr() {
        Exit::USAGE
    } else {
        Exit::OK
    }
}

/// What cannot be reached says why elsewhere.
fn sentence(error: &ClientError, refusal: &Refusal) -> String {
    match (error, &refusal.lift) {
        (ClientError::NotRunning { .. } | ClientError::Broken(_), Some(look)) => {
            format!("{error}; to see why: {look}")
        }
        (ClientError::NotAllowed { socket }, _) if is_admin_beside(socket) => format!(
            "you may not connect to '{}', though you are an administrator: the daemon could not open it to your \
             group; why: journalctl -u remitd; until that is mended: sudo remit …, or add yourself to its group",
            socket.display()
        ),
        (ClientError::Refused(_), _) => refusal.to_string(),
        (_, _) => error.to_string(),
    }
}

/// Whether the caller may connect to the administrators' socket beside this one.
fn is_admin_beside(socket: &Path) -> bool {
    let admin = socket.with_file_name("admin.sock");
    admin != socket && access(&admin, AccessFlags::W_OK).is_ok()
}

/// Advice of a refused run that fits the caller: root is nobody's to ask.
fn for_root(refusal: Refusal) -> Refusal {
    const ASK: &str = "ask an administrator for a grant";
    const TRY: &str = "root needs no grant to try a profile: remit try -- COMMAND";
    match &refusal.next {
        Some(next) if next.contains(ASK) => Refusal {
            next: Some(next.replace(ASK, TRY)),
            lift: None,
            ..refusal
        },
        Some(_) | None => refusal,
    }
}

/// What to do next, in the words of this program: agents call a tool, people type a verb.
pub fn typed(next: &str) -> String {
    const TOOLS: [(&str, &str); 4] = [
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

fn in_our_words(refusal: &Refusal) -> Refusal {
    let refusal = Refusal {
        next: refusal.next.as_deref().map(typed),
        ..refusal.clone()
    };
    match geteuid().is_root() {
        true => for_root(refusal),
        false => refusal,
    }
}

fn client(error: &ClientError) -> (Exit, Refusal) {
    let unavailable = || Refusal::new(Code::DaemonUnavailable, error.to_string());
    match error {
        ClientError::NotRunning { .. } | ClientError::Broken(_) => {
            let look = match geteuid().is_root() {
                true => "journalctl -u remitd -n 20",
                false => "systemctl status remitd",
            };
            (Exit::UNAVAILABLE, unavailable().lift(look))
        }
        ClientError::NotAllowed { .. } => (
            Exit::NOT_ALLOWED,
            unavailable().by("permissions of the socket"),
        ),
        ClientError::Refused(refusal) => match refusal.code {
            Code::DaemonUnavailable => (Exit::UNAVAILABLE, in_our_words(refusal)),
            _ => (Exit::REFUSED, in_our_words(refusal)),
        },
    }
}
