//! `remit deny`: say no to a request, and why.

use remit_common::admin::AdminRequest;

use super::approve;
use crate::admin;
use crate::app::Context;
use crate::args::DenyArgs;
use crate::exit::Exit;
use crate::failure::Failure;

/// Denies it; who asked for it reads why.
pub fn deny(context: &Context, args: DenyArgs) -> Result<Exit, Failure> {
    let job = approve::job(context, args.id)?;
    let why = args.message;
    admin::tell_done(context, AdminRequest::Deny { job, why })?;
    Ok(Exit::OK)
}
