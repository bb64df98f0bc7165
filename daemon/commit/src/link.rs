//! Symbolic links: a link has no mode, no lease and no bytes but its target, which nobody can change.

use std::ffi::{CStr, OsString};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;

use nix::fcntl::{AtFlags, readlinkat};
use nix::unistd::{Gid, Uid, fchownat, symlinkat};
use remit_plan::{Content, Entry, Metadata, sha256};

use crate::failure::Failure;
use crate::tree::{Operation, look};

/// Makes the link of an operation in `beside`; `contents` has its target at `range`. Returns its inode.
pub fn make(
    operation: &Operation<'_>,
    beside: impl AsFd,
    (contents, range): (&File, Range<u64>),
    (content, meta): (Content, Metadata),
) -> io::Result<u64> {
    let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
    let mut target = vec![0; length.min(libc::PATH_MAX as usize)];
    contents.read_exact_at(&mut target, range.start)?;
    if sha256(&target) != content.sha256 {
        return Err(io::Error::other("its target is not that of the plan"));
    }
    let slot = operation.slot.as_c_str();
    symlinkat(OsString::from_vec(target).as_os_str(), &beside, slot)?;
    let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
    fchownat(
        &beside,
        slot,
        Some(uid),
        Some(gid),
        AtFlags::AT_SYMLINK_NOFOLLOW,
    )?;
    look(&beside, slot)?
        .map(|made| made.stat.ino)
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Returns true if the link leads where the hash says. Without one, not all planners have read it.
pub fn is_to(dir: impl AsFd, name: &CStr, known: Option<[u8; 32]>) -> io::Result<bool> {
    let Some(known) = known else {
        return Ok(true);
    };
    Ok(sha256(readlinkat(dir, name)?.as_bytes()) == known)
}

pub fn check(
    entry: &Entry,
    dir: impl AsFd,
    name: &CStr,
    known: Option<[u8; 32]>,
) -> Result<(), Failure> {
    match is_to(dir, name, known).map_err(|error| Failure::new(entry, &error))? {
        true => Ok(()),
        false => Err(Failure::changed(entry, "it leads elsewhere")),
    }
}
