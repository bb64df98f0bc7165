//! `remit lock` and `remit unlock`.

use remit_common::admin::AdminRequest;

use crate::args::LockArgs;
use crate::client::admin_socket;
use crate::context::Context;
use crate::error::Failure;
use crate::exit::Exit;

pub fn lock(context: &Context, args: LockArgs) -> Result<Exit, Failure> {
    let request = AdminRequest::Lock {
        why: args.message,
        kill: args.kill,
    };
    admin_socket::tell_done(context, request)?;
    Ok(Exit::OK)
}

pub fn unlock(context: &Context) -> Result<Exit, Failure> {
    admin_socket::tell_done(context, AdminRequest::Unlock)?;
    Ok(Exit::OK)
}
