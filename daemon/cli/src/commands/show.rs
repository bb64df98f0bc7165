//! `remit show`: shows what an approval would let run, or the result of a decided request.

use remit_common::client::ClientError;
use remit_common::id_prefix::IdPrefix;
use remit_common::refusal::{Code, Refusal};

use crate::args::ShowArgs;
use crate::commands::jobs;
use crate::context::Context;
use crate::error::Failure;
use crate::exit::Exit;
use crate::render::output::{self, Form};
use crate::render::request::Detail;
use crate::{
    client::admin_socket,
    render::{decided, request},
};

pub fn show(context: &Context, args: ShowArgs) -> Result<Exit, Failure> {
    let shown = match admin_socket::shown(context, args.id.clone()) {
        Ok(shown) => shown,
        Err(Failure::Client(ClientError::Refused(refusal))) if refusal.code == Code::NotFound => {
            return over(context, args.id, refusal);
        }
        Err(error) => return Err(error),
    };
    match context.form {
        Form::Json => output::json(&request::json(&shown))?,
        Form::Text => {
            let detail = match args.all {
                true => Detail::All,
                false => Detail::Short,
            };
            output::page(&request::page(&shown, detail))?;
        }
    }
    Ok(Exit::OK)
}

/// Shows a request that no longer waits for approval.
fn over(context: &Context, id: IdPrefix, refusal: Refusal) -> Result<Exit, Failure> {
    let job = match decided::ask(context, id, false) {
        Ok(job) => job,
        Err(Failure::Client(ClientError::Refused(ambiguous)))
            if ambiguous.code == Code::InvalidArgs =>
        {
            return Err(ambiguous.into());
        }
        // The id is unknown, or the daemon is too old for this request. The first error is right in both cases.
        Err(_) => return Err(refusal.into()),
    };
    match context.form {
        Form::Json => output::json(&jobs::any(&job))?,
        Form::Text => output::text(&decided::page(&job))?,
    }
    Ok(Exit::OK)
}
