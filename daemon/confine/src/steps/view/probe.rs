//! Tries whether this machine can show its root file system in a view.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use remit_sys::{Doing, Error, Result};

use super::site::{NO_WRITE, SITE_OPTIONS, Site};
use super::table::uncopied_root;
use super::users::NO_ID;
use super::{PROBE, SITE, is_unmappable, user_namespace};
use crate::sys::{self, ForkCall, Propagation};

/// Refuses a machine that cannot show its root file system in a view.
pub(crate) fn probe(call: ForkCall) -> Result<()> {
    const TABLE: &str = "/proc/thread-self/mountinfo";
    let doing = || "cannot make a view of this machine".to_owned();
    let refused = |why: &str| Err(Error::refused(doing(), why));
    let users = match user_namespace(call, (PROBE, PROBE), &[]) {
        Err(error) => {
            return match error.raw_os_error() {
                Some(libc::EINVAL) => {
                    refused("the kernel has no user namespaces; boot one with CONFIG_USER_NS")
                }
                Some(NO_ID) => refused(
                    "the user namespace of this container lacks ids that copies need; run remit outside of containers, or map all ids",
                ),
                Some(libc::ENOSPC | libc::EPERM) => refused(
                    "the kernel makes no user namespace; set user.max_user_namespaces, see sysctl(8)",
                ),
                _ => Err(error).doing(doing),
            };
        }
        Ok(users) => users,
    };
    let child = || match try_root(users.as_fd()) {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
    };
    let (pid, _pidfd) = sys::fork(call, None, child).doing(doing)?;
    let ended = sys::wait(pid, 0).doing(doing)?;
    let code = ended.and_then(|(status, _)| status.code());
    let Some(errno) = code else {
        return refused("the child that tried was killed");
    };
    let error = io::Error::from_raw_os_error(errno);
    if is_unmappable(&error) {
        return refused(
            "the kernel cannot map the owners of its root file system: Linux 5.19 can for ext4, XFS, btrfs and F2FS, \
             and no Linux can for an overlay or NFS; boot a newer kernel, or run remit outside of containers",
        );
    }
    if errno != 0 {
        return Err(error).doing(doing);
    }
    let mounts = std::fs::read(TABLE).doing(|| format!("cannot read '{TABLE}'"))?;
    uncopied_root(&mounts).map_or(Ok(()), |why| refused(&why))
}

fn try_root(users: BorrowedFd<'_>) -> io::Result<()> {
    sys::own_mounts()?;
    sys::set_whole_tree(0, Propagation::Private)?;
    let root = sys::copy_mount(c"/")?;
    sys::set_mapped_mount(root.as_fd(), NO_WRITE, users)?;
    sys::change_dir(SITE)?;
    sys::mount_tmpfs_here(SITE_OPTIONS, true)?;
    let site = Site::new(
        sys::open(SITE, libc::O_PATH | libc::O_DIRECTORY)?,
        SITE_OPTIONS,
    )?;
    for name in ["area/up", "area/work"] {
        site.make(name)?;
    }
    sys::attach_mount_on(root.as_fd(), site.directory("low")?.as_fd())?;
    site.overlay("low", Some(["area/up", "area/work"]), "shown")
}
