//! `remit revoke`: ends temporary grants.

use remit_common::admin::AdminRequest;

use crate::args::RevokeArgs;
use crate::client::admin_socket;
use crate::context::Context;
use crate::error::Failure;
use crate::exit::Exit;

/// Ends one grant or all. Nothing starts by them after the daemon's reply.
pub fn revoke(context: &Context, args: &RevokeArgs) -> Result<Exit, Failure> {
    admin_socket::tell_done(context, AdminRequest::Revoke { grant: args.id })?;
    Ok(Exit::OK)
}
