//! `remit lock` and `remit unlock`.

use remit_common::admin::AdminRequest;

use super::policy::done;
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
    done(context, request)
}

/// Undoes a lock.
pub fn unlock(context: &Context) -> Result<Exit, Failure> {
    done(context, AdminRequest::Unlock)
}
