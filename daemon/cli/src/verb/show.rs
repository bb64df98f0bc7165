//! `remit show`: all that an approval of a request would let run.

use crate::app::Context;
use crate::args::ShowArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Form};
use crate::{admin, request};

/// Shows one request.
pub fn show(context: &Context, args: ShowArgs) -> Result<Exit, Failure> {
    let shown = admin::shown(context, args.id)?;
    match context.form {
        Form::Json => output::json(&request::json(&shown))?,
        Form::Text => output::text(&request::page(&shown))?,
    }
    Ok(Exit::OK)
}
