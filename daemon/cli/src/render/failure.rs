//! Prints what failed, and what to do; with JSON an object with the key `error`.

use std::path::Path;

use nix::unistd::{AccessFlags, access, geteuid};
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_wire::client::ClientError;
use serde_json::json;

use crate::error::{Failure, in_our_words};
use crate::exit::Exit;
use crate::render::output::{self, Form};

impl Failure {
    /// Prints how to watch `job`, if an error leaves its fate unknown.
    pub fn leaves(self, job: JobId) -> Self {
        if self.is_in_doubt() {
            output::note(&format!(
                "job {job} belongs to the daemon; to see what becomes of it: remit job {job} --follow"
            ));
        }
        self
    }

    /// Prints how to find a job that may have started although its reply never came.
    pub fn may_have_started(self, request_id: &str) -> Self {
        if self.is_in_doubt() {
            output::note(&format!(
                "the command may have started: 'remit jobs' lists it; to get that same job and start no other: \
                 the same line with --request-id {request_id}"
            ));
        }
        self
    }

    /// Prints on stderr what failed, then what to do, and with JSON an object with the key `error`.
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
                let message = format!("only root may use 'remit {verb}'");
                output::note(&message);
                (Exit::NOT_ALLOWED, Refusal::new(Code::DeniedRule, message))
            }
            Self::Client(error) => {
                let (exit, refusal) = client(error);
                output::note(&sentence(error));
                advise(error, &refusal);
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
    // With stdout or stderr closed, there is nothing to report to.
    let _ = error.print();
    if error.use_stderr() {
        Exit::USAGE
    } else {
        Exit::OK
    }
}

fn sentence(error: &ClientError) -> String {
    match error {
        ClientError::NotAllowed { socket } if is_admin_beside(socket) => format!(
            "you may not connect to '{}', though you are an administrator: the daemon could not open it to your \
             group; why: journalctl -u remitd; until that is mended: sudo remit …, or add yourself to its group",
            socket.display()
        ),
        error => error.to_string(),
    }
}

/// Prints what the caller can do, and what an administrator can do.
fn advise(error: &ClientError, refusal: &Refusal) {
    if let Some(next) = &refusal.next {
        output::note(&format!("to go on: {next}"));
    }
    let label = match error {
        ClientError::Refused(_) => "to lift it",
        _ => "to go on",
    };
    if let Some(lift) = &refusal.lift {
        // The lines of a rule are shown as they are pasted.
        let mut lines = lift.lines();
        output::note(&format!("{label}: {}", lines.next().unwrap_or_default()));
        lines.for_each(|line| output::complain(&format!("{line}\n")));
    }
}

/// Returns true if the caller may connect to the administrators' socket beside this one.
fn is_admin_beside(socket: &Path) -> bool {
    let admin = socket.with_file_name("admin.sock");
    admin != socket && access(&admin, AccessFlags::W_OK).is_ok()
}

fn client(error: &ClientError) -> (Exit, Refusal) {
    let unavailable = || Refusal::new(Code::DaemonUnavailable, error.to_string());
    match error {
        ClientError::NotRunning { .. } => {
            let lift = match geteuid().is_root() {
                true => "systemctl start remitd; journalctl -u remitd -n 20 shows why it ended",
                false => "sudo systemctl start remitd; systemctl status remitd shows why it ended",
            };
            (Exit::UNAVAILABLE, unavailable().lift(lift))
        }
        ClientError::Broken(_) => {
            let look = match geteuid().is_root() {
                true => "journalctl -u remitd -n 20 shows why",
                false => "systemctl status remitd shows why",
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
