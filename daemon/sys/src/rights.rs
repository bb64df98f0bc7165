//! Drops the rights of a process of ours that needs none.

use std::io;

use crate::sys;

/// Drops every right. The kernel forces the order: first what needs `CAP_SETPCAP`, last the parent's death signal.
pub fn drop_all_rights(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    sys::drop_bounding()?;
    drop_all_rights_bounded(uid, gid, groups)
}

/// Does the same for a process that was born with an empty bounding set, which never grows. capabilities(7).
pub fn drop_all_rights_bounded(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    become_unprivileged(uid, gid, groups)?;
    sys::die_with_parent()?;
    is_unprivileged(uid, gid)
}

pub fn become_unprivileged(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    sys::lock_securebits()?;
    sys::become_user(uid, gid, groups)?;
    sys::clear_capabilities()?;
    sys::set_dumpable(false)
}

pub fn is_unprivileged(uid: u32, gid: u32) -> io::Result<()> {
    match sys::is_user(uid, gid) && sys::has_no_capability()? && sys::securebits_locked() {
        true => Ok(()),
        false => Err(io::Error::from_raw_os_error(libc::EPERM)),
    }
}
