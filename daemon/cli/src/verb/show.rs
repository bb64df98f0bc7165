//! `remit show`: all that an approval of a request would let run; of one that is decided, what became of it.

use remit_common::client::ClientError;
use remit_common::refusal::{Code, Refusal};

use crate::app::Context;
use crate::args::ShowArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Form};
use crate::verb::jobs;
use crate::{admin, decided, request};

/// Shows one request.
pub fn show(context: &Context, args: ShowArgs) -> Result<Exit, Failure> {
    let shown = match admin::shown(context, args.id.clone()) {
        Ok(shown) => shown,
        Err(Failure::Client(ClientError::Refused(refusal))) if refusal.code == Code::NotFound => {
            return over(context, args.id, refusal);
        }
        Err(error) => return Err(error),
    };
    match context.form {
        Form::Json => output::json(&request::json(&shown))?,
        Form::Text => output::text(&request::page(&shown))?,
    }
    Ok(Exit::OK)
}

/// One that does not wait for an approval any more.
fn over(context: &Context, id: String, refusal: Refusal) -> Result<Exit, Failure> {
    let job = match decided::ask(context, id, false) {
        Ok(job) => job,
        // The id is unknown, or the daemon's release does not know the question: the first answer is true anyway.
        Err(_) => return Err(Failure::Client(ClientError::Refused(refusal))),
    };
    match context.form {
        Form::Json => output::json(&jobs::any(&job))?,
        Form::Text => output::text(&decided::page(&job))?,
    }
    Ok(Exit::OK)
}
