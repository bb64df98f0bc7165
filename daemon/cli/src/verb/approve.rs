//! `remit approve`: let exactly that run which was shown.
//!
//! That something is typed is a courtesy to who approves. What counts is whom the kernel says is
//! there, and the digest; both are the daemon's to judge.

use remit_common::admin::{AdminRequest, AnyJob, ShownRequest};
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use serde_json::json;

use crate::app::Context;
use crate::args::ApproveArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Form};
use crate::terminal::Terminal;
use crate::verb::jobs;
use crate::{admin, decided, request};

/// How often the digest may be typed.
const TRIES: usize = 3;

/// Approves a request: what the digest says, or what is shown now and confirmed.
pub fn approve(context: &Context, args: ApproveArgs) -> Result<Exit, Failure> {
    let (job, digest) = match args.digest {
        Some(digest) => (job(context, args.id)?, digest),
        None => {
            let shown = admin::shown(context, args.id)?;
            confirm(&shown)?;
            (shown.pending.job, shown.pending.digest)
        }
    };
    let done = admin::done(context, AdminRequest::Approve { job, digest })?;
    if context.form == Form::Text {
        output::text(&format!("{done}\n"))?;
    }
    let end = match args.no_wait {
        true => None,
        false => end(context, job),
    };
    match (context.form, &end) {
        (Form::Json, end) => output::json(&json!({
            "done": done,
            "job_id": job.to_string(),
            "digest": request::hex(&digest),
            "end": end.as_ref().map(jobs::any),
        }))?,
        (Form::Text, Some(end)) => output::text(&format!("{}\n", decided::sentence(end)))?,
        (Form::Text, None) => {}
    }
    Ok(Exit::OK)
}

/// The job as it ended. That it is approved stands, whatever keeps us from the answer.
fn end(context: &Context, job: JobId) -> Option<AnyJob> {
    if context.form == Form::Text {
        output::note("waiting for its end; Ctrl-C leaves, and the job goes on");
    }
    match decided::ask(context, job.to_string(), true) {
        Ok(job) => Some(job),
        Err(Failure::Client(error)) => {
            output::note(&format!("the daemon does not say how it ended: {error}"));
            output::note(&format!("to see it: remit show {}", request::name(job)));
            None
        }
        Err(_) => None,
    }
}

/// The whole id of the request.
pub fn job(context: &Context, id: String) -> Result<JobId, Failure> {
    match id.parse() {
        Ok(job) => Ok(job),
        Err(_) => Ok(admin::shown(context, id)?.pending.job),
    }
}

/// Shows it on the terminal and asks there: what is asked about has been seen by who answers.
fn confirm(shown: &ShownRequest) -> Result<(), Failure> {
    let pending = &shown.pending;
    let Some(mut terminal) = Terminal::open() else {
        let why = format!(
            "there is no terminal to ask at; 'remit show {}' shows what you approve",
            request::name(pending.job)
        );
        let digest = request::hex(&pending.digest);
        let line = format!("remit approve {} --digest {digest}", pending.job);
        return Err(Failure::Machine(
            Refusal::new(Code::NeedsApproval, why).lift(line),
        ));
    };
    terminal.show(&request::page(shown))?;
    let wanted = request::hex(&pending.digest);
    let question = "\nTo approve exactly this, type the first 8 digits of the digest: ";
    for left in (0..TRIES).rev() {
        let Some(typed) = terminal.ask(question)? else {
            return Err(Failure::NotApproved("nothing was typed"));
        };
        if is_begin(&typed, &wanted) {
            return Ok(());
        }
        if left > 0 {
            terminal.show(&format!(
                "That is not the digest. Type its first 8 digits to approve, Ctrl-C to leave (the request stays\n\
                 pending); to deny it: remit deny {} -m WHY\n",
                request::name(pending.job)
            ))?;
        }
    }
    Err(Failure::NotApproved("what was typed is not the digest"))
}

/// Whether the digest begins with the 8 or more digits that were typed, spaces left out.
fn is_begin(typed: &str, digest: &str) -> bool {
    let digits: String = typed.split_whitespace().collect();
    digits.len() >= 8 && digest.starts_with(&digits.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_digits_are_enough_and_seven_are_not() {
        let digest = "0123456789abcdef".repeat(4);
        for typed in ["01234567", " 0123 4567\r", "0123456789AB", &digest] {
            assert!(is_begin(typed, &digest), "{typed}");
        }
        for typed in [
            "",
            "yes",
            "0123456",
            "12345678",
            "012345678a",
            &format!("{digest}0"),
        ] {
            assert!(!is_begin(typed, &digest), "{typed}");
        }
    }
}
