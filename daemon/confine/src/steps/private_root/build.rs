//! Builds a root in the child that will live in it.

use super::model::{Access, Content, Host, Mount, Private, Root, is_left_out};
use super::staged::StagedView;
use crate::Why;
use crate::steps::landlock::Fence;
use crate::steps::report::EnabledLayers;
use crate::steps::report::Fault;
use crate::sys::{self, Propagation};
use remit_spawn::{NOWHERE, Staged};
use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

pub(crate) struct MountParams<'a> {
    pub(crate) layers: EnabledLayers,
    /// Mounts beneath a path are shown with it, as they are: read-only.
    pub(crate) whole: bool,
    pub(crate) shared: &'a CStr,
    pub(crate) own: &'a CStr,
    pub(crate) ruleset: Option<(BorrowedFd<'a>, &'a Fence)>,
    /// Files of a plan. Only [`build`] shows them.
    pub(crate) staged: Option<&'a Staged>,
    /// A further mount for the self-test, which replaces what is listed beneath it.
    pub(crate) stage: Option<&'a Mount>,
}

/// Path at which the root is built: in this namespace `/proc` is of no other use.
const SITE: &CStr = c"/proc";

/// Builds the root, and moves to its top. `propagation` is for the host's tree until that is detached; the root is cut off.
pub(crate) fn build(
    root: &Root,
    params: &MountParams<'_>,
    propagation: Propagation,
) -> Result<(), Fault> {
    sys::set_whole_tree(0, propagation)?;
    if !params.layers.is_on(crate::Layer::PrivateRoot) {
        let is_unshown = params.staged.is_some();
        return (!is_unshown)
            .then_some(())
            .ok_or(Fault::because(Why::Unmet));
    }
    let host = sys::open(c"/", libc::O_PATH | libc::O_DIRECTORY)?;
    sys::change_dir(SITE)?;
    sys::mount_tmpfs_here(c"size=1m,nr_inodes=4096,mode=755", true)?;
    let new = sys::open(SITE, libc::O_PATH | libc::O_DIRECTORY)?;
    furnish(root, new.as_fd())?;
    let staged = params.staged;
    let staged = staged.map(|staged| StagedView::new(staged, &root.mounts, new.as_fd()));
    let staged = staged.transpose()?;
    for (at, mount) in root.mounts.iter().chain(params.stage).enumerate() {
        if params
            .stage
            .is_some_and(|stage| mount.is_beneath(stage) && !std::ptr::eq(mount, stage))
        {
            continue;
        }
        let copy = |source: BorrowedFd<'_>| match staged.as_ref().filter(|view| view.is_in(at)) {
            Some(view) => view.copy(at, mount, source),
            None => sys::copy_mount_of(source, params.whole),
        };
        let put = put_copy(mount, host.as_fd(), new.as_fd(), params, copy);
        put.map_err(|fault| fault.at(u16::try_from(at).unwrap_or(NOWHERE)))?;
    }
    if let Some(staged) = staged {
        staged.close(new.as_fd())?;
    }
    let proc = sys::open_plain(new.as_fd(), c"proc", libc::O_PATH)?;
    sys::change_to(proc.as_fd())?;
    sys::mount_proc_here()?;
    let unless = |layer, flag| if params.layers.is_on(layer) { flag } else { 0 };
    let attributes = unless(crate::Layer::ReadOnlyMounts, sys::RDONLY)
        | unless(crate::Layer::NoSuid, sys::NOSUID)
        | unless(crate::Layer::NoDev, sys::NODEV)
        | unless(crate::Layer::NoExec, sys::NOEXEC);
    sys::set_mount(new.as_fd(), attributes)?;
    sys::change_to(new.as_fd())?;
    Ok(sys::pivot_here()?)
}

fn furnish(root: &Root, new: BorrowedFd<'_>) -> io::Result<()> {
    for path in &root.directories {
        made(sys::make_dir_at(new, path, 0o755))?;
    }
    for link in &root.links {
        sys::make_link_at(&link.to, new, &link.path)?;
    }
    for (path, text) in &root.files {
        sys::make_file_at(new, path, text)?;
    }
    Ok(())
}

fn made(tried: io::Result<()>) -> io::Result<()> {
    match tried {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Mounts one entry on its path in `new`. The host's files are looked up beneath `host`.
pub(crate) fn put(
    mount: &Mount,
    host: BorrowedFd<'_>,
    new: BorrowedFd<'_>,
    params: &MountParams<'_>,
) -> Result<(), Fault> {
    let copy = |source: BorrowedFd<'_>| sys::copy_mount_of(source, params.whole);
    put_copy(mount, host, new, params, copy)
}

/// `copy` makes what is mounted of what the host has.
fn put_copy(
    mount: &Mount,
    host: BorrowedFd<'_>,
    new: BorrowedFd<'_>,
    params: &MountParams<'_>,
    copy: impl FnOnce(BorrowedFd<'_>) -> io::Result<OwnedFd>,
) -> Result<(), Fault> {
    let open = |flags| sys::open_plain(new, &mount.target, flags);
    match &mount.what {
        Content::Private(sharing) => {
            prepare(mount, new, true)?;
            let options = match sharing {
                Private::Shared => params.shared,
                Private::Own => params.own,
            };
            if params.layers.is_on(crate::Layer::PrivateTmp) {
                sys::change_to(open(libc::O_PATH | libc::O_DIRECTORY)?.as_fd())?;
                sys::mount_tmpfs_here(options, params.layers.is_on(crate::Layer::NoExec))?;
            }
            let there = open(libc::O_PATH | libc::O_DIRECTORY)?;
            grant(params, there.as_fd(), |fence| fence.in_private_dirs)?;
        }
        Content::Host(shown) => {
            let source = match sys::open_plain(host, &shown.source, libc::O_PATH) {
                Err(e) if shown.optional && is_left_out(&e) => return Ok(()),
                other => other?,
            };
            let kind = sys::stat_of(source.as_fd())?.st_mode & libc::S_IFMT;
            check(shown, kind)?;
            prepare(mount, new, kind == libc::S_IFDIR)?;
            let copy = copy(source.as_fd())?;
            sys::set_mount(copy.as_fd(), shown.access.attributes(params.layers))?;
            sys::attach_mount_on(copy.as_fd(), open(libc::O_PATH)?.as_fd())?;
            allow(params, shown.access, kind, &copy)?;
        }
    }
    Ok(())
}

/// A device or socket must be of its kind: any other file would get more than was listed by its mount's attributes.
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

/// Makes the mount point, unless a directory of the host is above it.
fn prepare(mount: &Mount, new: BorrowedFd<'_>, directory: bool) -> io::Result<()> {
    let Some(parents) = &mount.parents else {
        return Ok(());
    };
    for path in parents {
        made(sys::make_dir_at(new, path, 0o755))?;
    }
    made(match directory {
        true => sys::make_dir_at(new, &mount.target, 0o755),
        false => sys::make_file_at(new, &mount.target, b""),
    })
}

/// Grants Landlock's rights on what may be written. Files take fewer than directories.
fn allow(params: &MountParams<'_>, access: Access, kind: u32, mount: &OwnedFd) -> io::Result<()> {
    let target = mount.as_fd();
    match access {
        Access::Files { write: true, .. } if kind == libc::S_IFDIR => {
            grant(params, target, |fence| fence.in_private_dirs)
        }
        Access::Files { write: true, .. } => grant(params, target, |fence| fence.on_files),
        Access::Device => grant(params, target, |fence| fence.on_listed_devices),
        Access::Socket => grant(params, target, |fence| fence.on_sockets),
        Access::Files { .. } => Ok(()),
    }
}

fn grant(
    params: &MountParams<'_>,
    target: BorrowedFd<'_>,
    rights: impl FnOnce(&Fence) -> u64,
) -> io::Result<()> {
    match params
        .ruleset
        .map(|(ruleset, fence)| (ruleset, rights(fence)))
    {
        None | Some((_, 0)) => Ok(()),
        Some((ruleset, rights)) => sys::landlock_grant(ruleset, target, rights),
    }
}
