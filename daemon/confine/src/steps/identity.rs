//! Sets a job's user, groups and capabilities.

use crate::spec::compiled::Base;
use crate::steps::child_env::ChildEnv;
use crate::steps::report::{Fault, StepResult};
use crate::sys;
use crate::{Layer, Why};
use remit_sys::rights::{drop_all_rights, drop_all_rights_bounded};
use std::io;

pub(crate) fn become_job(child_env: &ChildEnv<'_>) -> Result<StepResult, Fault> {
    let (layers, credentials) = (child_env.sandbox.layers, &child_env.sandbox.credentials);
    let (uid, gid, groups) = (child_env.uid, child_env.gid, credentials.groups.as_slice());
    if let Base::Host = child_env.sandbox.base {
        become_host_user(uid, gid, groups)?;
    } else if !layers.is_on(Layer::Identity) {
        // Only for tests of the self-test, as is the next branch.
        sys::drop_bounding()?;
        sys::lock_securebits()?;
        sys::clear_capabilities()?;
    } else if !layers.is_on(Layer::Capabilities) {
        sys::keep_capabilities()?;
        sys::become_user(uid, gid, groups)?;
    } else if credentials.capabilities == 0 && child_env.inherited.is_some() {
        drop_all_rights_bounded(uid, gid, groups)?;
    } else if credentials.capabilities == 0 {
        drop_all_rights(uid, gid, groups)?;
    } else {
        become_capable_user(uid, gid, groups, credentials.capabilities)?;
    }
    Ok(StepResult::Done)
}

fn become_capable_user(uid: u32, gid: u32, groups: &[u32], kept: u64) -> Result<(), Fault> {
    sys::drop_bounding_but(kept)?;
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
fn become_host_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    sys::become_user(uid, gid, groups)?;
    if uid != 0 {
        sys::clear_capabilities()?;
    }
    sys::die_with_parent()?;
    match sys::is_user(uid, gid) {
        true => Ok(()),
        false => Err(io::Error::from_raw_os_error(libc::EPERM)),
    }
}
