//! Building a root, in the child that will live in it. No allocation.

use super::{Access, Content, Host, Mount, Private, Root, is_missing};
use crate::fence::Fence;
use crate::floor::{self, Later};
use crate::notes::Fault;
use crate::steps::Why;
use crate::wall::Walls;
use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// What one job brings to its root.
pub(crate) struct Given<'a> {
    pub(crate) walls: Walls,
    /// What is mounted beneath a place is shown with it, as it is: read-only.
    pub(crate) whole: bool,
    /// Options of private directories, by whose they are.
    pub(crate) shared: &'a CStr,
    pub(crate) own: &'a CStr,
    /// The Landlock ruleset to grant in.
    pub(crate) ruleset: Option<(BorrowedFd<'a>, &'a Fence)>,
    /// A further mount, for the witness, in place of what is listed beneath it.
    pub(crate) stage: Option<&'a Mount>,
}

/// Where the root is put together: in this namespace `/proc` is of no other use.
const SITE: &CStr = c"/proc";

/// Builds the root and moves into it. The working directory is its top. `later`: of the host's tree until it
/// has gone; the root itself is cut off.
pub(crate) fn build(root: &Root, given: &Given<'_>, later: Later) -> Result<(), Fault> {
    floor::set_whole_tree(0, later)?;
    if !given.walls.up(crate::Wall::PrivateRoot) {
        return Ok(());
    }
    let host = floor::open(c"/", libc::O_PATH | libc::O_DIRECTORY)?;
    floor::change_dir(SITE)?;
    floor::mount_tmpfs_here(c"size=1m,nr_inodes=4096,mode=755", true)?;
    let new = floor::open(SITE, libc::O_PATH | libc::O_DIRECTORY)?;
    furnish(root, new.as_fd())?;
    for (at, mount) in (0u16..).zip(root.mounts.iter().chain(given.stage)) {
        if given
            .stage
            .is_some_and(|stage| mount.is_beneath(stage) && !std::ptr::eq(mount, stage))
        {
            continue;
        }
        put(mount, host.as_fd(), new.as_fd(), given).map_err(|fault| fault.at(at))?;
    }
    let proc = floor::open_plain(new.as_fd(), c"proc", libc::O_PATH)?;
    floor::change_to(proc.as_fd())?;
    floor::mount_proc_here()?;
    let unless = |wall, flag| if given.walls.up(wall) { flag } else { 0 };
    let attributes = unless(crate::Wall::ReadOnlyMounts, floor::RDONLY)
        | unless(crate::Wall::NoSuid, floor::NOSUID)
        | unless(crate::Wall::NoDev, floor::NODEV)
        | unless(crate::Wall::NoExec, floor::NOEXEC);
    floor::set_mount(new.as_fd(), attributes)?;
    floor::change_to(new.as_fd())?;
    Ok(floor::pivot_here()?)
}

/// Directories, links and files of the root itself.
fn furnish(root: &Root, new: BorrowedFd<'_>) -> io::Result<()> {
    for path in &root.directories {
        made(floor::make_dir_at(new, path, 0o755))?;
    }
    for link in &root.links {
        floor::make_link_at(&link.to, new, &link.path)?;
    }
    for (path, text) in &root.files {
        floor::make_file_at(new, path, text)?;
    }
    Ok(())
}

/// What is there already need not be made.
fn made(tried: io::Result<()>) -> io::Result<()> {
    match tried {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Puts one mount onto its place in `new`. `host` is the root that the host's are looked up in.
pub(crate) fn put(
    mount: &Mount,
    host: BorrowedFd<'_>,
    new: BorrowedFd<'_>,
    given: &Given<'_>,
) -> Result<(), Fault> {
    let open = |flags| floor::open_plain(new, &mount.target, flags);
    match &mount.what {
        Content::Private(whose) => {
            prepare(mount, new, true)?;
            let options = match whose {
                Private::Shared => given.shared,
                Private::Own => given.own,
            };
            if given.walls.up(crate::Wall::PrivateTmp) {
                floor::change_to(open(libc::O_PATH | libc::O_DIRECTORY)?.as_fd())?;
                floor::mount_tmpfs_here(options, given.walls.up(crate::Wall::NoExec))?;
            }
            let there = open(libc::O_PATH | libc::O_DIRECTORY)?;
            grant(given, there.as_fd(), |fence| fence.in_private_dirs)?;
        }
        Content::Host(shown) => {
            let source = match floor::open_plain(host, &shown.source, libc::O_PATH) {
                Err(e) if shown.optional && is_missing(&e) => return Ok(()),
                other => other?,
            };
            let kind = floor::stat_of(source.as_fd())?.st_mode & libc::S_IFMT;
            check(shown, kind)?;
            prepare(mount, new, kind == libc::S_IFDIR)?;
            let copy = floor::copy_mount_of(source.as_fd(), given.whole)?;
            floor::set_mount(copy.as_fd(), shown.access.attributes(given.walls))?;
            floor::attach_mount_on(copy.as_fd(), open(libc::O_PATH)?.as_fd())?;
            allow(given, shown.access, kind, &copy)?;
        }
    }
    Ok(())
}

/// A device and a socket must be what they are listed as: what else had their mount's
/// attributes would be more than was listed.
fn check(shown: &Host, kind: u32) -> Result<(), Fault> {
    let fits = match shown.access {
        Access::Files { .. } => true,
        Access::Device => matches!(kind, libc::S_IFCHR | libc::S_IFBLK),
        Access::Socket => kind == libc::S_IFSOCK,
    };
    if fits {
        Ok(())
    } else {
        Err(Fault::because(Why::WrongKind))
    }
}

/// Makes the place that is mounted on, where nothing of the host lies above it.
fn prepare(mount: &Mount, new: BorrowedFd<'_>, directory: bool) -> io::Result<()> {
    let Some(parents) = &mount.parents else {
        return Ok(());
    };
    for path in parents {
        made(floor::make_dir_at(new, path, 0o755))?;
    }
    made(match directory {
        true => floor::make_dir_at(new, &mount.target, 0o755),
        false => floor::make_file_at(new, &mount.target, b""),
    })
}

/// Landlock's rights on what may be written. Files take fewer than directories.
fn allow(given: &Given<'_>, access: Access, kind: u32, mount: &OwnedFd) -> io::Result<()> {
    let place = mount.as_fd();
    match access {
        Access::Files { write: true, .. } if kind == libc::S_IFDIR => {
            grant(given, place, |fence| fence.in_private_dirs)
        }
        Access::Files { write: true, .. } => grant(given, place, |fence| fence.on_files),
        Access::Device => grant(given, place, |fence| fence.on_listed_devices),
        Access::Files { .. } | Access::Socket => Ok(()),
    }
}

fn grant(
    given: &Given<'_>,
    place: BorrowedFd<'_>,
    rights: impl FnOnce(&Fence) -> u64,
) -> io::Result<()> {
    match given.ruleset {
        Some((ruleset, fence)) => floor::landlock_grant(ruleset, place, rights(fence)),
        None => Ok(()),
    }
}
