//! Sets a job's user, groups and capabilities.

use crate::steps::enter::Entering;
use crate::steps::report::{Fault, StepResult, Taken};
use crate::sys;
use crate::{Layer, Why};
use remit_sys::rights::drop_all_rights_bounded;

pub(crate) fn become_job(child: &mut Entering<'_>) -> Taken {
    let env = child.env;
    let (layers, credentials) = (env.sandbox.layers, &env.sandbox.credentials);
    let (uid, gid, groups) = (env.uid, env.gid, credentials.groups.as_slice());
    if !layers.is_on(Layer::Identity) {
        // Only for tests of the self-test, as is the next branch.
        sys::drop_bounding()?;
        sys::lock_securebits()?;
        sys::clear_capabilities()?;
    } else if !layers.is_on(Layer::Capabilities) {
        sys::keep_capabilities()?;
        sys::become_user(uid, gid, groups)?;
    } else if credentials.capabilities == 0 {
        drop_all_rights_bounded(uid, gid, groups)?;
    } else {
        become_capable_user(uid, gid, groups, credentials.capabilities)?;
    }
    Ok(StepResult::Done)
}

fn become_capable_user(uid: u32, gid: u32, groups: &[u32], kept: u64) -> Result<(), Fault> {
    sys::become_user_with(uid, gid, groups, kept)?;
    sys::set_dumpable(false)?;
    sys::die_with_parent()?;
    let settled = sys::is_user(uid, gid) && sys::has_exactly(kept)? && sys::securebits_locked();
    match settled {
        true => Ok(()),
        false => Err(Fault::because(Why::Unmet)),
    }
}

/// Becomes a user as any program of the host does: root has root's rights, another user none.
pub(crate) fn become_host_user(child: &mut Entering<'_>) -> Taken {
    let env = child.env;
    sys::become_user(env.uid, env.gid, &env.sandbox.credentials.groups)?;
    if env.uid != 0 {
        sys::clear_capabilities()?;
    }
    sys::die_with_parent()?;
    match sys::is_user(env.uid, env.gid) {
        true => Ok(StepResult::Done),
        false => Err(Fault::because(Why::Unmet)),
    }
}
