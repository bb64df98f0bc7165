//! Whether the file systems of a plan can take it.

use std::collections::HashSet;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;

use nix::sys::statfs::fstatfs;
use nix::sys::statvfs::fstatvfs;
use remit_plan::{Entry, RENUMBERED, is_fat};
use remit_sys::sys;

use crate::tree::{Operation, about};

/// Fails if a file system is read-only. All files of one directory have one anchor, which is asked once.
pub fn check_writable(operations: &[Operation<'_>]) -> Result<(), String> {
    let mut asked = HashSet::new();
    let is_new = |one: &&Operation<'_>| asked.insert(Rc::as_ptr(&one.anchor));
    operations.iter().filter(is_new).try_for_each(|operation| {
        let why = match operation.anchor.is_read_only() {
            Ok(false) => return Ok(()),
            Ok(true) => "its file system is read-only".to_owned(),
            Err(error) => error.to_string(),
        };
        Err(about(operation.entry, why))
    })
}

/// Fails if a file system cannot take what is new in it, or could not undo it.
pub fn check(operations: &[Operation<'_>]) -> Result<(), String> {
    check_writable(operations)?;
    let mut needed: Vec<(u64, u64, u64, &Operation<'_>)> = Vec::new();
    for operation in operations {
        if let (Some(held), Some(parent)) = (&operation.held, &operation.parent) {
            check_number(operation.entry, held, parent)?;
        }
        let fail = |error: io::Error| about(operation.entry, error);
        let device = sys::stat_of(operation.anchor.fd.as_fd())
            .map_err(fail)?
            .st_dev;
        let size = operation
            .entry
            .change
            .content()
            .map_or(0, |content| content.size);
        let bytes = size.next_multiple_of(4096) + 4096;
        match needed.iter_mut().find(|(known, ..)| *known == device) {
            Some((_, sum, count, _)) => (*sum, *count) = (*sum + bytes, *count + 1),
            None => needed.push((device, bytes, 2, operation)),
        }
    }
    for (_, bytes, count, operation) in needed {
        let entry = operation.entry;
        let kind = fstatfs(&operation.anchor.fd).map_err(|error| about(entry, error))?;
        if is_fat(kind.filesystem_type().0) {
            return Err(about(entry, RENUMBERED));
        }
        let disk = fstatvfs(&operation.anchor.fd).map_err(|error| about(entry, error))?;
        let free = disk.blocks_available().saturating_mul(disk.fragment_size());
        let inodes = disk.files_available();
        match () {
            () if free < bytes => {
                return Err(about(
                    entry,
                    format!("its file system has {free} free bytes, and {bytes} are needed"),
                ));
            }
            // Some file systems have no such number.
            () if disk.files() != 0 && inodes < count => {
                return Err(about(entry, "its file system has too few free inodes"));
            }
            () => {}
        }
    }
    Ok(())
}

/// Fails for a file of another device than its directory: such an overlay numbers it by the layer that it is in now.
pub fn check_number(entry: &Entry, file: impl AsFd, directory: impl AsFd) -> Result<(), String> {
    let device = |fd| sys::stat_of(fd).map_err(|error| about(entry, error));
    let (file, directory) = (device(file.as_fd())?, device(directory.as_fd())?);
    let is_directory = file.st_mode & libc::S_IFMT == libc::S_IFDIR;
    match is_directory || file.st_dev == directory.st_dev {
        true => Ok(()),
        false => Err(about(entry, RENUMBERED)),
    }
}
