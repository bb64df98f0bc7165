//! Who a job becomes, and with what.

use crate::checklist::Way;
use crate::floor;
use crate::keeper::{become_nobody, become_nobody_bounded};
use crate::notes::{Fault, Taken};
use crate::sandbox::Base;
use crate::{Wall, Why};
use std::io;

/// The job's user, groups and capabilities, dying with its parent.
pub(crate) fn become_job(way: &Way<'_>) -> Result<Taken, Fault> {
    let (walls, who) = (way.sandbox.walls, &way.sandbox.who);
    let (uid, gid, groups) = (way.uid, way.gid, who.groups.as_slice());
    if let Base::Host = way.sandbox.base {
        become_host_user(uid, gid, groups)?;
    } else if !walls.up(Wall::Identity) {
        // For tests of the witness alone, as is the next.
        floor::drop_bounding()?;
        floor::lock_securebits()?;
        floor::clear_capabilities()?;
    } else if !walls.up(Wall::Capabilities) {
        floor::keep_capabilities()?;
        floor::become_user(uid, gid, groups)?;
    } else if who.capabilities == 0 && way.inherited.is_some() {
        become_nobody_bounded(uid, gid, groups)?;
    } else if who.capabilities == 0 {
        become_nobody(uid, gid, groups)?;
    } else {
        become_somebody(uid, gid, groups, who.capabilities)?;
    }
    Ok(Taken::Done)
}

/// An identity with exactly `kept` in all five sets, so that it survives execve(2).
fn become_somebody(uid: u32, gid: u32, groups: &[u32], kept: u64) -> Result<(), Fault> {
    floor::drop_bounding_but(kept)?;
    floor::become_user_with(uid, gid, groups, kept)?;
    floor::set_dumpable(false)?;
    floor::die_with_parent()?;
    let settled =
        floor::is_user(uid, gid) && floor::has_exactly(kept)? && floor::securebits_locked();
    match settled {
        true => Ok(()),
        false => Err(Fault::because(Why::Unmet)),
    }
}

/// A user as any program of the host is: root with root's rights, another with none.
fn become_host_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    floor::become_user(uid, gid, groups)?;
    if uid != 0 {
        floor::clear_capabilities()?;
    }
    floor::die_with_parent()?;
    match floor::is_user(uid, gid) {
        true => Ok(()),
        false => Err(io::Error::from_raw_os_error(libc::EPERM)),
    }
}
