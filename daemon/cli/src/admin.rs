//! Questions on admin.sock that verbs share.

use nix::unistd::{AccessFlags, access};
use remit_common::admin::{AdminReply, AdminRequest, ShownRequest};
use remit_common::client;

use crate::app::Context;
use crate::failure::Failure;
use crate::output::{self, Form};

/// Whether the caller may connect to admin.sock. access(2) asks for the real ids, which are the effective ones here.
pub fn may_ask(context: &Context) -> bool {
    let socket = context.runtime.admin_socket();
    access(&socket, AccessFlags::W_OK).is_ok()
}

/// Asks, and takes out of the answer what belongs to the question; another one is off the protocol.
///
/// # Errors
/// As [`client::admin`].
pub fn ask<T>(
    context: &Context,
    request: AdminRequest,
    take: impl FnOnce(AdminReply) -> Option<T>,
) -> Result<T, Failure> {
    let reply = client::admin(&context.runtime.admin_socket(), request)?;
    take(reply).ok_or_else(Failure::off_protocol)
}

/// Has something done, and gives the daemon's sentence about it.
pub fn done(context: &Context, request: AdminRequest) -> Result<String, Failure> {
    ask(context, request, |reply| match reply {
        AdminReply::Done(sentence) => Some(sentence),
        _ => None,
    })
}

/// Has something done, and prints the daemon's sentence about it.
pub fn tell_done(context: &Context, request: AdminRequest) -> Result<(), Failure> {
    let sentence = done(context, request)?;
    match context.form {
        Form::Json => output::json(&serde_json::json!({ "done": sentence })),
        Form::Text => output::text(&format!("{sentence}\n")),
    }
}

/// The request whose id begins so.
pub fn shown(context: &Context, id: String) -> Result<ShownRequest, Failure> {
    ask(context, AdminRequest::Show { id }, |reply| match reply {
        AdminReply::Shown(request) => Some(*request),
        _ => None,
    })
}
