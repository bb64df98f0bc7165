//! Compares extended attributes of a changed path with those that a commit would leave on it. xattr(7).

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use remit_plan::{Change, FileCapabilities};
use remit_sys::sys;

use crate::bounds::ATTRIBUTES;
use crate::node::{Node, NodeKind};
use crate::refusal::RefusalReason;

/// Of the overlay itself, seen by root alone, and set by the policy of the host.
const IGNORED: [&[u8]; 2] = [b"trusted.overlay.", b"security.selinux"];
const OVERLAY: &[u8] = b"user.overlay.";
/// Bound to the old bytes. The kernel and `remit-commit` remove them with those.
const BOUND_TO_BYTES: [&[u8]; 2] = [b"security.ima", b"security.evm"];

/// The old file or directory, and what becomes of it.
#[derive(Clone, Copy)]
pub struct OldAttributes<'a> {
    pub fd: BorrowedFd<'a>,
    pub has_new_bytes: bool,
}

/// Returns true if the new one has attributes `user.overlay.*`, which are left out. Fails for a difference.
pub fn check(new: BorrowedFd<'_>, old: Option<OldAttributes<'_>>) -> Result<bool, RefusalReason> {
    let mut names = names(new)?;
    let count = names.len();
    names.retain(|name| !name.to_bytes().starts_with(OVERLAY));
    let has_overlay = names.len() != count;
    let mut expected = old.map_or_else(|| Ok(BTreeSet::new()), |old| self::names(old.fd))?;
    expected.retain(|name| !name.to_bytes().starts_with(OVERLAY));
    if old.is_some_and(|old| old.has_new_bytes) {
        expected.retain(|name| !starts_with_any(name, &BOUND_TO_BYTES));
    }
    if Node::from_fd(new)?.kind == NodeKind::File {
        // The plan has its value.
        names.remove(sys::FILE_CAPABILITIES);
        expected.remove(sys::FILE_CAPABILITIES);
    }
    for name in names.union(&expected) {
        let is_same = match old {
            Some(old) if names.contains(name) && expected.contains(name) => {
                value(new, name)? == value(old.fd, name)?
            }
            _ => false,
        };
        if !is_same {
            return Err(RefusalReason::Attribute(name.to_bytes().to_vec()));
        }
    }
    Ok(has_overlay)
}

/// Fails if no commit makes the change of a path with the attributes that the host's has.
pub fn check_change(change: &Change, old: BorrowedFd<'_>) -> Result<(), RefusalReason> {
    let list = sys::xattr(old, sys::ACCESS_LISTS[0]).ok();
    let why = remit_plan::attribute_conflict(change, &listed(old)?, list.as_deref());
    why.map_or(Ok(()), |why| Err(RefusalReason::OldAttributes(why)))
}

/// Reads the capabilities of a file. In the namespace of a copy the kernel shows those of its root as version 2.
pub fn capabilities(file: BorrowedFd<'_>) -> Result<Option<FileCapabilities>, RefusalReason> {
    let refused = || RefusalReason::Attribute(sys::FILE_CAPABILITIES.to_bytes().to_vec());
    match sys::xattr(file, sys::FILE_CAPABILITIES) {
        Ok(value) => FileCapabilities::decode(&value)
            .ok_or_else(refused)
            .map(Some),
        Err(error) => match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(None),
            // They are of another root.
            Some(Errno::EOVERFLOW) => Err(refused()),
            _ => Err(unreadable(&error)),
        },
    }
}

/// Returns the names of all attributes, each with its NUL.
fn listed(fd: BorrowedFd<'_>) -> Result<Vec<u8>, RefusalReason> {
    match sys::xattr_names(fd) {
        Err(error) if error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32) => Ok(Vec::new()),
        listed => listed.map_err(|error| unreadable(&error)),
    }
}

fn names(fd: BorrowedFd<'_>) -> Result<BTreeSet<CString>, RefusalReason> {
    let mut names = BTreeSet::new();
    for name in listed(fd)?.split(|byte| *byte == 0) {
        let Ok(name) = CString::new(name) else {
            continue;
        };
        if !name.is_empty() && !starts_with_any(&name, &IGNORED) {
            names.insert(name);
        }
        if names.len() > ATTRIBUTES {
            return Err(RefusalReason::ManyAttributes);
        }
    }
    Ok(names)
}

fn value(fd: BorrowedFd<'_>, name: &CStr) -> Result<Vec<u8>, RefusalReason> {
    sys::xattr(fd, name).map_err(|error| unreadable(&error))
}

fn starts_with_any(name: &CStr, list: &[&[u8]]) -> bool {
    list.iter().any(|start| name.to_bytes().starts_with(start))
}

fn unreadable(error: &io::Error) -> RefusalReason {
    let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
    RefusalReason::Unreadable(errno)
}
