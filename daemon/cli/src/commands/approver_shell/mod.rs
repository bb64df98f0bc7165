//! `remit approver-shell`: what sshd starts for the key of `remit enroll-approver`, whatever its client asks for. Takes
//! the client's line from SSH_ORIGINAL_COMMAND (sshd(8)), and starts no program. Without a line it asks at the terminal.

mod permitted;
mod words;

use std::os::unix::ffi::OsStrExt;

use permitted::{ApproverVerb, Permitted, TYPED, permitted, refused};

use super::{approve, pending};
use crate::args::PendingArgs;
use crate::error::{Exit, Failure};
use crate::render::output::{self, Context, Form, LINE_BYTES, Terminal};

const LINE: &str = "SSH_ORIGINAL_COMMAND";

pub fn approver_shell(context: &Context) -> Result<Exit, Failure> {
    match std::env::var_os(LINE).filter(|line| !line.is_empty()) {
        Some(line) => run(context, line.as_bytes()),
        None => converse(context),
    }
}

fn run(context: &Context, line: &[u8]) -> Result<Exit, Failure> {
    let Permitted { form, verb } = permitted(line)?;
    let context = &Context {
        runtime: context.runtime.clone(),
        form,
        width: context.width,
    };
    let done = match verb {
        ApproverVerb::Pending(args) => pending::pending(context, &args),
        ApproverVerb::Show(args) => approve::show(context, args),
        ApproverVerb::Approve(args) => approve::approve(context, args),
        ApproverVerb::Deny(args) => approve::deny(context, args),
    };
    match done {
        // The form is of this line.
        Err(failure) if form == Form::Json => Ok(failure.report(form)),
        done => done,
    }
}

/// Shows what waits, and runs one line after another until the end of the input. Ctrl-C leaves.
fn converse(context: &Context) -> Result<Exit, Failure> {
    let Some(mut terminal) = Terminal::open() else {
        let why = "nothing was asked for, and there is no terminal to ask at (ssh -t gives one)";
        return Err(refused(why.to_owned()));
    };
    let list = || {
        pending::pending(
            context,
            &PendingArgs {
                watch: false,
                is_afar: true,
            },
        )
    };
    list()?;
    output::note(&format!("type one of: {TYPED}; help; exit"));
    loop {
        let Some(line) = terminal.ask("remit> ")? else {
            return Ok(Exit::OK);
        };
        let done = match line.trim() {
            "exit" | "quit" => return Ok(Exit::OK),
            "" => list(),
            _ if line.len() >= LINE_BYTES => Err(refused(format!(
                "nothing was done: a line has less than {LINE_BYTES} bytes"
            ))),
            line => run(context, line.as_bytes()),
        };
        match done {
            Ok(_) => {}
            Err(failure @ (Failure::Gone | Failure::Output(_))) => return Err(failure),
            Err(failure) => {
                let _ = failure.report(Form::Text);
            }
        }
    }
}
