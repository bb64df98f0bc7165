//! Requests on admin.sock that several verbs share.

use nix::unistd::{AccessFlags, access};
use remit_common::admin::{AdminReply, AdminRequest, AnyJob};
use remit_common::id_prefix::IdPrefix;
use remit_common::refusal::{Code, Refusal};
use remit_page::{ShownRequest, Unverified, Verified};
use remit_wire::client;

use crate::context::Context;
use crate::error::Failure;
use crate::render::output::{self, Form};

/// Returns true if the caller may connect to admin.sock. access(2) checks the real ids; they equal the effective ones.
pub fn may_ask(context: &Context) -> bool {
    let socket = context.runtime.admin_socket();
    access(&socket, AccessFlags::W_OK).is_ok()
}

/// Sends a request and extracts its reply with `take`; another kind is a protocol error. Fails as [`client::admin`].
pub fn ask<T>(
    context: &Context,
    request: AdminRequest,
    take: impl FnOnce(AdminReply) -> Option<T>,
) -> Result<T, Failure> {
    let reply = client::admin(&context.runtime.admin_socket(), request)?;
    take(reply).ok_or_else(Failure::off_protocol)
}

/// Sends a request and returns the daemon's confirmation.
pub fn done(context: &Context, request: AdminRequest) -> Result<String, Failure> {
    ask(context, request, |reply| match reply {
        AdminReply::Done(sentence) => Some(sentence),
        _ => None,
    })
}

/// Sends a request and prints the daemon's confirmation.
pub fn tell_done(context: &Context, request: AdminRequest) -> Result<(), Failure> {
    let sentence = done(context, request)?;
    match context.form {
        Form::Json => output::json(&serde_json::json!({ "done": sentence })),
        Form::Text => output::text(&format!("{sentence}\n")),
    }
}

/// Requests the job whose id starts with `id`. If `wait`, the answer comes at the job's end. A daemon of an older
/// release that does not know the request disconnects.
pub fn any_job(context: &Context, id: impl Into<String>, wait: bool) -> Result<AnyJob, Failure> {
    let id = id.into();
    ask(
        context,
        AdminRequest::Job { id, wait },
        |reply| match reply {
            AdminReply::Job(job) => Some(*job),
            _ => None,
        },
    )
}

/// Returns the texts of a request, made here from the bytes that are signed, with the digest of these bytes. Fails if
/// the daemon's answer contradicts itself.
pub fn shown(context: &Context, id: IdPrefix) -> Result<ShownRequest, Failure> {
    let answer = client::show(&context.runtime.admin_socket(), id.clone().into())?;
    let verified =
        Verified::from_answer(&answer).and_then(|verified| match id.begins(verified.job()) {
            true => Ok(verified),
            false => Err(Unverified::OtherJob(verified.job())),
        });
    let verified = verified.map_err(|why| {
        let refusal = Refusal::new(Code::InvalidArgs, why.to_string());
        Failure::Machine(refusal.lift("compare the releases: remit --version, remit status"))
    })?;
    Ok(remit_page::shown(&verified))
}
