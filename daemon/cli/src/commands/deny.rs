//! `remit deny`: denies a request, with a reason for the requester.

use remit_common::admin::AdminRequest;

use super::approve;
use crate::args::DenyArgs;
use crate::client::admin_socket;
use crate::context::Context;
use crate::error::Failure;
use crate::exit::Exit;

pub fn deny(context: &Context, args: DenyArgs) -> Result<Exit, Failure> {
    let job = approve::job(context, args.id)?;
    let why = args.message;
    admin_socket::tell_done(context, AdminRequest::Deny { job, why })?;
    Ok(Exit::OK)
}
