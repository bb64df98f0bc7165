//! The mounts of a `read` sandbox: the host's tree, read-only, with private directories and a minimal `/dev` over it.

use crate::Layer;
use crate::spec::overmounts::{MAX_PRIVATE, Overmounts};
use crate::steps::private_root::{self, MAX_DEVICES, MountParams};
use crate::steps::report::Fault;
use crate::sys::{self, Propagation};
use std::os::fd::{AsFd, BorrowedFd};

/// Makes the whole tree read-only, cut off from the host's or following it, in one call. Then mounts what the job
/// gets, and grants it in the ruleset while the descriptors are open.
pub(crate) fn confine(
    overmounts: &Overmounts,
    params: &MountParams<'_>,
    propagation: Propagation,
) -> Result<(), Fault> {
    let layers = params.layers;
    let flag = |layer, flag| if layers.is_on(layer) { flag } else { 0 };
    let attributes = flag(Layer::ReadOnlyMounts, sys::RDONLY)
        | flag(Layer::NoSuid, sys::NOSUID)
        | flag(Layer::NoDev, sys::NODEV);
    sys::set_whole_tree(attributes, propagation)?;
    let grant = |target: BorrowedFd<'_>, rights| match params.ruleset {
        Some((ruleset, _)) => sys::landlock_grant(ruleset, target, rights),
        None => Ok(()),
    };
    let (in_private_dirs, on_devices) = params.ruleset.map_or((0, 0), |(_, fence)| {
        (fence.in_private_dirs, fence.on_devices)
    });
    for path in overmounts.private.iter().take(MAX_PRIVATE) {
        if layers.is_on(Layer::PrivateTmp) {
            sys::mount_tmpfs(path, params.shared)?;
        }
        grant(sys::open(path, libc::O_PATH)?.as_fd(), in_private_dirs)?;
    }
    for path in overmounts.devices.iter().take(MAX_DEVICES) {
        let mount = sys::copy_mount(path)?;
        sys::attach_mount(mount.as_fd(), path)?;
        sys::allow_devices(mount.as_fd())?;
        grant(mount.as_fd(), on_devices)?;
    }
    let host = sys::open(c"/", libc::O_PATH | libc::O_DIRECTORY)?;
    for (at, mount) in (0u16..).zip(&overmounts.listed) {
        private_root::put(mount, host.as_fd(), host.as_fd(), params)
            .map_err(|fault| fault.at(at))?;
    }
    Ok(())
}
