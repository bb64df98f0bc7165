//! `remit revoke`: end grants for a time.

use remit_common::admin::AdminRequest;

use crate::admin;
use crate::app::Context;
use crate::args::RevokeArgs;
use crate::exit::Exit;
use crate::failure::Failure;

/// Ends one, or all: nothing starts by it once this is done.
pub fn revoke(context: &Context, args: &RevokeArgs) -> Result<Exit, Failure> {
    admin::tell_done(context, AdminRequest::Revoke { grant: args.id })?;
    Ok(Exit::OK)
}
