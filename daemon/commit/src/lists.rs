//! Access lists of what gets another owner: acl(5). chown(2) keeps them, and no page shows them.
//! **Invariant:** nothing that a commit, an undo or a way back gives to root has a list of somebody else's choice: accounts in
//! it would go on to write.

use std::ffi::CStr;
use std::io;
use std::os::fd::AsFd;

use remit_plan::{Change, Metadata};
use remit_sys::sys;

/// The journal has no list, so an undo could not give back one that was removed.
pub const LISTED: &str = "it has an access list, which would stay with another owner: remove it with setfacl -b, then plan or undo again";

/// Returns true if a new file takes over this attribute of the old one. The list of an owner who is not root goes with them.
pub fn is_kept(name: &CStr, (old, new): (Metadata, Metadata)) -> bool {
    old.uid == 0 || old.uid == new.uid || !sys::ACCESS_LISTS.contains(&name)
}

/// Returns true if a change of the owner alone would leave a list.
pub fn stay(change: &Change, file: impl AsFd) -> io::Result<bool> {
    match change {
        Change::SetMetadata { base, meta } if base.stat.meta.uid != meta.uid => has_lists(file),
        Change::Create { .. }
        | Change::Replace { .. }
        | Change::ReplaceKind { .. }
        | Change::SetMetadata { .. }
        | Change::Remove { .. } => Ok(false),
    }
}

/// Returns true if what becomes root's again has a list: whoever had it meanwhile may have made that.
pub fn stay_at_root(file: impl AsFd, now: Metadata, again: Metadata) -> io::Result<bool> {
    Ok(again.uid == 0 && now.uid != 0 && has_lists(file)?)
}

fn has_lists(file: impl AsFd) -> io::Result<bool> {
    let names = sys::xattr_names(file)?;
    let mut names = names.split(|byte| *byte == 0);
    Ok(names.any(|name| sys::ACCESS_LISTS.iter().any(|list| list.to_bytes() == name)))
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
