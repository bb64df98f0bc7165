//! Names of directories: sorted, and bounded in number.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::os::fd::AsFd;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, fstatat};

use crate::bounds::LISTED_NAMES;
use crate::refusal::RefusalReason;

/// Returns all names of a directory. `left` is the number of names that may still be listed.
pub fn names(dir: impl AsFd, left: &mut usize) -> Result<BTreeSet<CString>, RefusalReason> {
    let mut names = BTreeSet::new();
    for_each_name(dir, left, |name| {
        names.insert(name.to_owned());
    })?;
    Ok(names)
}

/// Returns the names of `lower` that `merged` does not have. The host may make new ones meanwhile, so each is looked up.
pub fn missing(
    lower: impl AsFd,
    merged: impl AsFd,
    left: &mut usize,
) -> Result<BTreeSet<CString>, RefusalReason> {
    let mut missing = names(lower, left)?;
    // Every one of them is a name of `lower` or of the upper directory, which count.
    let mut merged_left = LISTED_NAMES;
    for_each_name(&merged, &mut merged_left, |name| {
        missing.remove(name);
    })?;
    let is_gone = |name: &CString| {
        let seen = fstatat(&merged, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW);
        seen.is_err_and(|errno| errno == Errno::ENOENT)
    };
    missing.retain(is_gone);
    Ok(missing)
}

fn for_each_name(
    dir: impl AsFd,
    left: &mut usize,
    mut name: impl FnMut(&CStr),
) -> Result<(), RefusalReason> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut listed = Dir::openat(dir, c".", flags, Mode::empty())?;
    for entry in listed.iter() {
        let entry = entry?;
        if [c".", c".."].contains(&entry.file_name()) {
            continue;
        }
        *left = left.checked_sub(1).ok_or(RefusalReason::ManyNames)?;
        name(entry.file_name());
    }
    Ok(())
}

/// Returns the path of a name in a directory.
pub fn join(dir: &[u8], name: &CStr) -> Vec<u8> {
    let dir = if dir == b"/" { &[] } else { dir };
    [dir, b"/", name.to_bytes()].concat()
}
