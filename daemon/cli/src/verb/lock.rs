//! `remit lock` and `remit unlock`.

use remit_common::admin::{AdminReply, AdminRequest};
use remit_common::client;
use serde_json::json;

use crate::app::Context;
use crate::args::LockArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Form};

/// Refuses everything from now on.
pub fn lock(context: &Context, args: LockArgs) -> Result<Exit, Failure> {
    let request = AdminRequest::Lock {
        why: args.message,
        kill: args.kill,
    };
    done(context, request)
}

/// Undoes a lock.
pub fn unlock(context: &Context) -> Result<Exit, Failure> {
    done(context, AdminRequest::Unlock)
}

/// Makes a request that is answered by a sentence.
fn done(context: &Context, request: AdminRequest) -> Result<Exit, Failure> {
    match client::admin(&context.runtime.admin_socket(), request)? {
        AdminReply::Done(sentence) => match context.form {
            Form::Json => output::json(&json!({ "done": sentence }))?,
            Form::Text => output::text(&format!("{sentence}\n"))?,
        },
        _ => {
            return Err(Failure::off_protocol());
        }
    }
    Ok(Exit::OK)
}
