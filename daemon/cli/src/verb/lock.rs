//! `remit lock` and `remit unlock`.

use remit_common::admin::AdminRequest;

use crate::admin;
use crate::app::Context;
use crate::args::LockArgs;
use crate::exit::Exit;
use crate::failure::Failure;

/// Refuses everything from now on.
pub fn lock(context: &Context, args: LockArgs) -> Result<Exit, Failure> {
    let request = AdminRequest::Lock {
        why: args.message,
        kill: args.kill,
    };
    admin::tell_done(context, request)?;
    Ok(Exit::OK)
}

/// Undoes a lock.
pub fn unlock(context: &Context) -> Result<Exit, Failure> {
    admin::tell_done(context, AdminRequest::Unlock)?;
    Ok(Exit::OK)
}
