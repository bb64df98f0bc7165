//! Mounts and namespaces.

use super::check;
use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
#[derive(Default)]
pub(super) struct MountAttr {
    pub(super) set: u64,
    pub(super) clear: u64,
    pub(super) propagation: u64,
    pub(super) userns_fd: u64,
}

pub(crate) const RDONLY: u64 = 1;
pub(crate) const NOSUID: u64 = 2;
pub(crate) const NODEV: u64 = 4;
pub(crate) const NOEXEC: u64 = 8;

const OPEN_TREE_CLONE: libc::c_uint = 1;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 4;

pub(super) fn set_attributes(
    at: RawFd,
    path: &CStr,
    flags: i32,
    attr: &MountAttr,
) -> io::Result<()> {
    let size = size_of::<MountAttr>();
    // SAFETY: a path and a structure of the given size, valid for the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            at,
            path.as_ptr(),
            flags,
            attr as *const MountAttr,
            size,
        )
    })?;
    Ok(())
}

/// What becomes of the host's later mounts and unmounts in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Later {
    /// Nothing: it is cut off.
    CutOff,
    /// They happen there, too, and new ones can be written: to be cut off before a job is in it. Nothing
    /// is done to the host's by it.
    Followed,
}

/// Sets `attributes` on every mount from `/` down, and what happens there later, in the same moment.
/// mount_setattr(2), Linux 5.12.
pub(crate) fn set_whole_tree(attributes: u64, later: Later) -> io::Result<()> {
    let attr = MountAttr {
        set: attributes,
        propagation: match later {
            Later::CutOff => libc::MS_PRIVATE,
            Later::Followed => libc::MS_SLAVE,
        },
        ..MountAttr::default()
    };
    set_attributes(libc::AT_FDCWD, c"/", libc::AT_RECURSIVE, &attr)
}

/// A detached copy of the one mount at `path`. open_tree(2).
pub(crate) fn copy_mount(path: &CStr) -> io::Result<OwnedFd> {
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as libc::c_uint;
    // SAFETY: a path, valid for the call.
    let fd =
        check(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Lets devices work again on the mount of `mount`.
pub(crate) fn allow_devices(mount: BorrowedFd<'_>) -> io::Result<()> {
    let attr = MountAttr {
        clear: NODEV,
        ..MountAttr::default()
    };
    set_attributes(mount.as_raw_fd(), c"", libc::AT_EMPTY_PATH, &attr)
}

/// Puts the detached `mount` over `path`. move_mount(2).
pub(crate) fn attach_mount(mount: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
    let from = mount.as_raw_fd();
    // SAFETY: paths valid for the call; integers.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            from,
            c"".as_ptr(),
            libc::AT_FDCWD,
            path.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    })?;
    Ok(())
}

/// A tmpfs over `path`, nosuid and nodev. `options` as tmpfs(5). mount(2).
pub(crate) fn mount_tmpfs(path: &CStr, options: &CStr) -> io::Result<()> {
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    let kind = c"tmpfs".as_ptr();
    // SAFETY: NUL-terminated strings, valid for the call.
    let r = unsafe { libc::mount(kind, path.as_ptr(), kind, flags, options.as_ptr().cast()) };
    check(r.into())?;
    Ok(())
}

/// A mount namespace of its own, a copy of the present one. unshare(2).
pub(crate) fn own_mounts() -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) }.into())?;
    Ok(())
}

/// Enters a mount namespace. setns(2).
pub(crate) fn set_namespace(namespace: BorrowedFd<'_>, kind: i32) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::setns(namespace.as_raw_fd(), kind) }.into())?;
    Ok(())
}

/// A `/proc` of the present pid namespace that is mounted nowhere. fsopen(2), fsmount(2).
pub(crate) fn detached_proc() -> io::Result<OwnedFd> {
    const CREATE: i32 = 6;
    let (none, zero) = (std::ptr::null::<libc::c_char>(), 0);
    let name = c"proc".as_ptr();
    // SAFETY: a NUL-terminated name, valid for the call; the flag is FSOPEN_CLOEXEC.
    let context = check(unsafe { libc::syscall(libc::SYS_fsopen, name, 1) })? as RawFd;
    // SAFETY: a new descriptor that nobody else owns.
    let context = unsafe { OwnedFd::from_raw_fd(context) };
    let raw = context.as_raw_fd();
    // SAFETY: an open context; the command takes neither key nor value.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, raw, CREATE, none, none, zero) })?;
    // SAFETY: an open context; the flag is FSMOUNT_CLOEXEC.
    let mount = check(unsafe { libc::syscall(libc::SYS_fsmount, raw, 1, zero) })? as RawFd;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(mount) })
}

/// openat(2) in this process's present view; close-on-exec.
pub(crate) fn open(path: &CStr, flags: i32) -> io::Result<OwnedFd> {
    open_at(None, path, flags)
}

/// openat(2) beneath `dir`.
pub(crate) fn open_at(dir: Option<BorrowedFd<'_>>, path: &CStr, flags: i32) -> io::Result<OwnedFd> {
    let at = dir.map_or(libc::AT_FDCWD, |d| d.as_raw_fd());
    // SAFETY: a path valid for the call. No mode: nothing here creates.
    let fd = unsafe { libc::openat(at, path.as_ptr(), flags | libc::O_CLOEXEC) };
    check(fd.into())?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// chdir(2).
pub(crate) fn change_dir(path: &CStr) -> io::Result<()> {
    // SAFETY: a path valid for the call.
    check(unsafe { libc::chdir(path.as_ptr()) }.into())?;
    Ok(())
}

/// mkdir(2).
pub(crate) fn make_dir(path: &CStr, mode: u32) -> io::Result<()> {
    // SAFETY: a path valid for the call.
    check(unsafe { libc::mkdir(path.as_ptr(), mode) }.into())?;
    Ok(())
}

/// What `path` is, following links. stat(2).
pub(crate) fn stat(path: &CStr) -> io::Result<libc::stat> {
    // SAFETY: all fields are integers, for which zero is valid.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: a path and a buffer, valid for the call.
    check(unsafe { libc::stat(path.as_ptr(), &raw mut stat) }.into())?;
    Ok(stat)
}

/// The mode of `path`, following links.
pub(crate) fn mode_of(path: &CStr) -> io::Result<u32> {
    stat(path).map(|stat| stat.st_mode)
}
