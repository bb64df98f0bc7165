//! Overlays that give directories and links other inode numbers once they are mounted again.

use std::ffi::CStr;
use std::io;
use std::os::fd::AsFd;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, fstatfs};
use nix::unistd::{UnlinkatFlags, unlinkat};
use remit_plan::RENUMBERED;
use remit_sys::sys;

/// A file in a private directory of an overlay, between two calls of this process.
pub const PROBE: &CStr = c"probe";

pub fn is_overlay(file: impl AsFd) -> io::Result<bool> {
    Ok(fstatfs(file)?.filesystem_type() == OVERLAYFS_SUPER_MAGIC)
}

/// Fails for a directory of an overlay that numbers files by layer: it gives directories and links other numbers, too, and
/// only a file shows it.
pub fn check_numbers(directory: impl AsFd) -> io::Result<()> {
    if !is_overlay(&directory)? {
        return Ok(());
    }
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let probe = openat(&directory, PROBE, flags, Mode::S_IRUSR)?;
    let device = |fd| sys::stat_of(fd).map(|stat| stat.st_dev);
    let devices = device(probe.as_fd()).and_then(|one| Ok((one, device(directory.as_fd())?)));
    unlinkat(&directory, PROBE, UnlinkatFlags::NoRemoveDir)?;
    match devices? {
        (file, directory) if file == directory => Ok(()),
        _ => Err(io::Error::other(RENUMBERED)),
    }
}
