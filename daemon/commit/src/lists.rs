//! Access lists of what gets another owner or a wider mode: acl(5). chown(2) and chmod(2) keep them, and no page shows them.
//! **Invariant:** nothing that a commit, an undo or a way back gives to root keeps a list of somebody else's choice that is at its
//! path: accounts in it would go on to write. A commit gives no account of a list at the path a right. A new path has the default
//! list of a directory of root.

use std::ffi::CStr;
use std::io;
use std::os::fd::AsFd;

use remit_plan::{Change, Direction, Metadata};
use remit_sys::sys;

/// Returns true if a new file takes over this attribute of the old one. The list of an owner who is not root goes with them.
pub fn is_kept(name: &CStr, (old, new): (Metadata, Metadata)) -> bool {
    remit_plan::is_list_kept(old, new) || !sys::ACCESS_LISTS.contains(&name)
}

/// Returns why the list of a path must not stay with its new owner or mode.
pub fn stay(
    change: &Change,
    direction: Direction,
    file: impl AsFd,
) -> io::Result<Option<&'static str>> {
    let names = sys::xattr_names(&file)?;
    let list = sys::xattr(&file, sys::ACCESS_LISTS[0]).ok();
    Ok(remit_plan::list_conflict(
        change,
        direction,
        (&names, list.as_deref()),
    ))
}

/// Returns true if what becomes root's again has a list: whoever had it meanwhile may have made that.
pub fn stay_at_root(file: impl AsFd, now: Metadata, again: Metadata) -> io::Result<bool> {
    Ok(again.uid == 0 && now.uid != 0 && remit_plan::has_list(&sys::xattr_names(file)?))
}

/// Returns the value of an attribute; of an access list without the rights that the mode has as well: chmod(2) sets them.
pub fn without_mode(name: &CStr, value: &[u8]) -> Vec<u8> {
    /// The owner, the mask and others. A list that is no mode alone has a mask.
    const OF_MODE: [u8; 3] = [0x01, 0x10, 0x20];
    /// Its version.
    const HEAD: usize = 4;
    let mut value = value.to_vec();
    let is_list = name == c"system.posix_acl_access";
    if let Some(rows) = value.get_mut(HEAD..).filter(|_| is_list) {
        let (rows, _) = rows.as_chunks_mut::<8>();
        for [tag, _, rights, ..] in rows {
            if OF_MODE.contains(tag) {
                *rights = 0;
            }
        }
    }
    value
}
