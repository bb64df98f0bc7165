//! `remit policy`.

use remit_common::admin::{AdminReply, AdminRequest};
use remit_common::client;
use serde_json::json;

use crate::app::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Form};

/// Has the policy loaded again.
pub fn reload(context: &Context) -> Result<Exit, Failure> {
    done(context, AdminRequest::Reload)
}

/// Makes a request that is answered by a sentence.
pub fn done(context: &Context, request: AdminRequest) -> Result<Exit, Failure> {
    match client::admin(&context.runtime.admin_socket(), request)? {
        AdminReply::Done(sentence) => match context.form {
            Form::Json => output::json(&json!({ "done": sentence }))?,
            Form::Text => output::text(&format!("{sentence}\n"))?,
        },
        AdminReply::Status(_)
        | AdminReply::Doctor(_)
        | AdminReply::Reloaded(_)
        | AdminReply::Refused(_)
        | AdminReply::Jobs { .. }
        | AdminReply::Stopped(_) => {
            return Err(Failure::off_protocol());
        }
    }
    Ok(Exit::OK)
}
