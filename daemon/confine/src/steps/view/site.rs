//! Where a view is built: its layers, their mount points, and what is kept of them.

use std::ffi::CStr;
use std::fmt::Display;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use remit_core::view::{ACTS, INDEX, Index, VIEW};

use crate::steps::private_root::{c_string, open_dir};
use crate::sys;

/// As many nodes as all budgets of the walk together need.
pub(super) const SITE_OPTIONS: &CStr = c"size=64m,nr_inodes=262144,mode=755";
/// Without these, directories that are renamed and files whose mode alone changes would refer to the lower directory.
const OVERLAY_OPTIONS: &str = "redirect_dir=off,metacopy=off,index=off";
pub(super) const NO_WRITE: u64 = sys::RDONLY | sys::NOSUID | sys::NODEV;

/// A file system in memory with the mount points, the layers and, beneath `area`, what the view writes.
pub(super) struct Site {
    pub(super) fd: OwnedFd,
}

impl Site {
    pub(super) fn new(fd: OwnedFd, area: &CStr) -> io::Result<Site> {
        let site = Site { fd };
        for name in ["low", "mask", "area", "shown", VIEW] {
            site.make(name)?;
        }
        sys::change_to(site.directory("area")?.as_fd())?;
        sys::mount_tmpfs_here(area, false)?;
        site.make(ACTS)?;
        Ok(site)
    }

    /// Mounts an overlay. Without an upper directory it needs two lower ones. Fails if the kernel made it read-only.
    pub(super) fn overlay(
        &self,
        lower: &str,
        upper: Option<[impl Display; 2]>,
        shown: &str,
    ) -> io::Result<()> {
        let is_written = upper.is_some();
        let upper = upper.map_or(String::new(), |[upper, work]| {
            format!(",upperdir={upper},workdir={work}")
        });
        let options = c_string(format!("lowerdir={lower}{upper},{OVERLAY_OPTIONS}"))?;
        let kind = Some(c"overlay");
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        sys::change_to(self.fd.as_fd())?;
        mount(
            kind,
            c_string(shown)?.as_c_str(),
            kind,
            flags,
            Some(options.as_c_str()),
        )?;
        let made = fstatvfs(self.directory(shown)?)?;
        match is_written && made.flags().contains(FsFlags::ST_RDONLY) {
            true => Err(io::Error::from_raw_os_error(libc::EROFS)),
            false => Ok(()),
        }
    }

    pub(super) fn make(&self, path: &str) -> io::Result<()> {
        sys::make_dir_at(self.fd.as_fd(), &c_string(path)?, 0o755)
    }

    /// Returns a read-only clone of all of it: see `remit_core::view`.
    pub(super) fn kept(&self, index: &Index) -> io::Result<OwnedFd> {
        sys::make_file_at(self.fd.as_fd(), &c_string(INDEX)?, &index.encode())?;
        let kept = sys::copy_mount_of(self.fd.as_fd(), true)?;
        sys::set_tree(kept.as_fd(), NO_WRITE | sys::NOEXEC)?;
        Ok(kept)
    }

    pub(super) fn directory(&self, path: &str) -> io::Result<OwnedFd> {
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        sys::open_plain(self.fd.as_fd(), &c_string(path)?, flags)
    }

    pub(super) fn directory_to_own(&self, path: &str) -> io::Result<OwnedFd> {
        open_dir(self.fd.as_fd(), &c_string(path)?)
    }
}
