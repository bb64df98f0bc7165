//! The mounts of a `read` sandbox: the host's tree, read-only, with private directories and a
//! minimal `/dev` over it.

use crate::floor::{self, Later};
use crate::notes::Fault;
use crate::places::{MAX_DEVICES, MAX_PRIVATE, Places};
use crate::root::{self, Given};
use crate::wall::Wall;
use std::os::fd::{AsFd, BorrowedFd};

/// One call cuts the whole tree off from the host's, or has it follow, and makes it read-only. After it the
/// private directories, the minimal `/dev` and what the profile lists are put in place, and granted
/// in the ruleset while their descriptors are at hand.
pub(crate) fn confine(places: &Places, given: &Given<'_>, later: Later) -> Result<(), Fault> {
    let walls = given.walls;
    let flag = |wall, flag| if walls.up(wall) { flag } else { 0 };
    let attributes = flag(Wall::ReadOnlyMounts, floor::RDONLY)
        | flag(Wall::NoSuid, floor::NOSUID)
        | flag(Wall::NoDev, floor::NODEV);
    floor::set_whole_tree(attributes, later)?;
    let grant = |place: BorrowedFd<'_>, rights| match given.ruleset {
        Some((ruleset, _)) => floor::landlock_grant(ruleset, place, rights),
        None => Ok(()),
    };
    let (in_private_dirs, on_devices) = given.ruleset.map_or((0, 0), |(_, fence)| {
        (fence.in_private_dirs, fence.on_devices)
    });
    for path in places.private.iter().take(MAX_PRIVATE) {
        if walls.up(Wall::PrivateTmp) {
            floor::mount_tmpfs(path, given.shared)?;
        }
        grant(floor::open(path, libc::O_PATH)?.as_fd(), in_private_dirs)?;
    }
    for path in places.devices.iter().take(MAX_DEVICES) {
        let mount = floor::copy_mount(path)?;
        floor::attach_mount(mount.as_fd(), path)?;
        floor::allow_devices(mount.as_fd())?;
        grant(mount.as_fd(), on_devices)?;
    }
    let host = floor::open(c"/", libc::O_PATH | libc::O_DIRECTORY)?;
    for (at, mount) in (0u16..).zip(&places.listed) {
        root::put(mount, host.as_fd(), host.as_fd(), given).map_err(|fault| fault.at(at))?;
    }
    Ok(())
}
