//! Programs of ours in place of those that ask the service manager for something: a view has none. They write down what was
//! asked for. They keep nothing in: a job may do without them.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use remit_core::view::{ACTS, STAND_IN_MODE, STAND_INS, StandIn};
use remit_spawn::Owner;

use super::Building;
use super::mask::Mask;
use super::site::{NO_WRITE, Site};
use crate::steps::private_root::{c_string, open_dir, own};
use crate::sys;
use remit_core::mount_table::is_in;

/// What `/run` has: where systemctl itself is and what is written down, and what programs look for to know that there is a service
/// manager, sd_booted(3).
const DIRECTORIES: [&CStr; 5] = [c"remit-plan", WRITTEN, c"systemd", c"systemd/system", LOCK];
/// Every program makes its locks there: file-hierarchy(7).
const LOCK: &CStr = c"lock";
const WRITTEN: &CStr = c"remit-plan/acts";
const MOVED: &CStr = c"remit-plan/systemctl";

/// A link `invocation:UNIT` for each active unit of the machine, which every account may read.
const UNITS: &CStr = c"systemd/units";
const HOST_UNITS: &CStr = c"run/systemd/units";

/// Where systemctl itself is, for what works on files alone.
const REAL: [&str; 2] = ["usr/bin", "bin"];
const SYSTEMCTL: &str = "systemctl";

impl Building<'_> {
    /// Puts those of one mount into its layer. `covered`: what other layers or mounts of it hide.
    pub(super) fn put_stand_ins<'a>(
        &self,
        mask: &Mask<'_>,
        mount: &[u8],
        covered: impl Iterator<Item = &'a CStr> + Clone,
    ) -> io::Result<()> {
        for StandIn { path, needs, text } in STAND_INS {
            let is_covered = |path: &str| {
                let mut above = covered.clone();
                above.any(|above| is_in(path.as_bytes(), above.to_bytes()))
            };
            let inside = |path: &'static str| super::inside(path.as_bytes(), mount);
            let (Some(path), Some(needs), false) = (inside(path), inside(needs), is_covered(path))
            else {
                continue;
            };
            if is_file(mask.host, &c_string(needs)?)? {
                mask.put(path, text, self.root_owner(STAND_IN_MODE))?;
            }
        }
        Ok(())
    }

    /// Puts what they need into `/run` of the view.
    pub(super) fn furnish_stand_ins(
        &self,
        site: &Site,
        view: BorrowedFd<'_>,
        host: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let run = match sys::open_plain(view, c"run", libc::O_PATH | libc::O_DIRECTORY) {
            // Where it is a link, it is not the view's own.
            Err(error) if super::mask::is_gone(&error) => return Ok(()),
            run => run?,
        };
        for path in DIRECTORIES {
            sys::make_dir_at(run.as_fd(), path, 0o755)?;
        }
        let lock = open_dir(run.as_fd(), LOCK)?;
        own(lock.as_fd(), self.root_owner(0o1777))?;
        let written = site.directory_to_own(ACTS)?;
        own(written.as_fd(), self.root_owner(0o1777))?;
        let written = sys::copy_mount_of(site.directory(ACTS)?.as_fd(), false)?;
        sys::set_mount(written.as_fd(), sys::NOSUID | sys::NODEV | sys::NOEXEC)?;
        attach(&written, run.as_fd(), WRITTEN)?;
        match sys::open_plain(host, HOST_UNITS, libc::O_PATH | libc::O_DIRECTORY) {
            Ok(units) => {
                sys::make_dir_at(run.as_fd(), UNITS, 0o755)?;
                let units = sys::copy_mount_of(units.as_fd(), false)?;
                sys::set_mount(units.as_fd(), NO_WRITE)?;
                attach(&units, run.as_fd(), UNITS)?;
            }
            Err(error) if super::mask::is_gone(&error) => {}
            Err(error) => return Err(error),
        }
        for dir in REAL {
            let real = c_string(format!("{dir}/{SYSTEMCTL}"))?;
            // Not if it is on a file system that a view does not show: that one may hang.
            if is_file(view, &real)? && is_file(host, &real)? {
                sys::make_file_at(run.as_fd(), MOVED, b"")?;
                let real = overlaid(site, host, dir)?;
                return attach(&real, run.as_fd(), MOVED);
            }
        }
        Ok(())
    }

    fn root_owner(&self, mode: u32) -> Owner {
        let root = self.mapped(0);
        Owner {
            uid: root,
            gid: root,
            mode,
        }
    }
}

/// Returns a mount of systemctl in a directory of the machine. Its inode is an overlay's: by the machine's own one a job
/// could lock the file, and have the file system written out.
fn overlaid(site: &Site, host: BorrowedFd<'_>, dir: &str) -> io::Result<OwnedFd> {
    let [low, mask, shown] = ["low", "mask", "shown"].map(|name| format!("{name}/{SYSTEMCTL}"));
    for name in [&low, &mask, &shown] {
        site.make(name)?;
    }
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let clone = sys::open_plain(host, &c_string(dir)?, flags)?;
    let clone = sys::copy_mount_of(clone.as_fd(), false)?;
    sys::set_mount(clone.as_fd(), NO_WRITE)?;
    sys::attach_mount_on(clone.as_fd(), site.directory(&low)?.as_fd())?;
    site.overlay(&format!("{mask}:{low}"), None::<[&str; 2]>, &shown)?;
    let shown = site.directory(&shown)?;
    let file = sys::open_plain(shown.as_fd(), &c_string(SYSTEMCTL)?, libc::O_PATH)?;
    let file = sys::copy_mount_of(file.as_fd(), false)?;
    sys::set_mount(file.as_fd(), NO_WRITE)?;
    Ok(file)
}

fn attach(mount: &OwnedFd, dir: BorrowedFd<'_>, at: &CStr) -> io::Result<()> {
    let at = sys::open_plain(dir, at, libc::O_PATH)?;
    sys::attach_mount_on(mount.as_fd(), at.as_fd())
}

/// Returns true for a file at that path itself, behind no link.
fn is_file(dir: BorrowedFd<'_>, path: &CStr) -> io::Result<bool> {
    match sys::open_plain(dir, path, libc::O_PATH | libc::O_NOFOLLOW) {
        Ok(found) => Ok(sys::stat_of(found.as_fd())?.st_mode & libc::S_IFMT == libc::S_IFREG),
        Err(error) if super::mask::is_gone(&error) => Ok(false),
        Err(error) => Err(error),
    }
}
