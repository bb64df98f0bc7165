//! Builds parts of a private root, and opens paths without following links.

use super::check;
use super::mount::{MountAttr, set_attributes};
use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// `RESOLVE_NO_MAGICLINKS`, `RESOLVE_NO_SYMLINKS`, `RESOLVE_BENEATH`.
const PLAIN: u64 = 0x02 | 0x04 | 0x08;

/// Opens `path` beneath `dir`. Refuses links in every part of it. openat2(2), Linux 5.6.
pub fn open_plain(dir: BorrowedFd<'_>, path: &CStr, flags: i32) -> io::Result<OwnedFd> {
    let how = OpenHow {
        flags: (flags | libc::O_CLOEXEC) as u64,
        mode: 0,
        resolve: PLAIN,
    };
    let (at, size) = (dir.as_raw_fd(), size_of::<OpenHow>());
    // SAFETY: a path and a structure of the given size, valid for the call.
    let fd = check(unsafe {
        libc::syscall(libc::SYS_openat2, at, path.as_ptr(), &raw const how, size)
    })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Creates namespaces of these kinds for this process (`CLONE_NEWPID`: for its children). unshare(2).
pub fn own_namespaces(kinds: i32) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::unshare(kinds) }.into())?;
    Ok(())
}

pub fn copy_mount_of(source: BorrowedFd<'_>, whole: bool) -> io::Result<OwnedFd> {
    const CLONE: i32 = 1;
    let deep = if whole { libc::AT_RECURSIVE } else { 0 };
    let flags = CLONE | libc::O_CLOEXEC | libc::AT_EMPTY_PATH | deep;
    let (at, none) = (source.as_raw_fd(), c"".as_ptr());
    // SAFETY: an empty path, valid for the call.
    let fd = check(unsafe { libc::syscall(libc::SYS_open_tree, at, none, flags) })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Sets exactly these attributes on the one mount of `mount`, and turns off its propagation.
pub fn set_mount(mount: BorrowedFd<'_>, attributes: u64) -> io::Result<()> {
    const ALL: u64 = 0xf;
    let attr = MountAttr {
        set: attributes,
        clear: ALL & !attributes,
        propagation: libc::MS_PRIVATE,
        ..MountAttr::default()
    };
    set_attributes(mount.as_raw_fd(), c"", libc::AT_EMPTY_PATH, &attr)
}

/// Sets these attributes on the mount of `mount` and on all beneath it.
pub fn set_tree(mount: BorrowedFd<'_>, attributes: u64) -> io::Result<()> {
    let attr = MountAttr {
        set: attributes,
        propagation: libc::MS_PRIVATE,
        ..MountAttr::default()
    };
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    set_attributes(mount.as_raw_fd(), c"", flags, &attr)
}

/// Sets exactly these attributes on the one mount of `mount`, turns off its propagation, and shows its owners as the user
/// namespace maps them. EINVAL: this kernel cannot do that for the file system. mount_setattr(2), Linux 5.12.
pub fn set_mapped_mount(
    mount: BorrowedFd<'_>,
    attributes: u64,
    users: BorrowedFd<'_>,
) -> io::Result<()> {
    const ALL: u64 = 0xf;
    const IDMAP: u64 = 0x0010_0000;
    let attr = MountAttr {
        set: attributes | IDMAP,
        clear: ALL & !attributes,
        propagation: libc::MS_PRIVATE,
        userns_fd: u64::from(users.as_raw_fd().unsigned_abs()),
    };
    set_attributes(mount.as_raw_fd(), c"", libc::AT_EMPTY_PATH, &attr)
}

pub fn attach_mount_on(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    const BOTH_EMPTY: libc::c_uint = 0x04 | 0x40;
    let (from, to, none) = (mount.as_raw_fd(), target.as_raw_fd(), c"".as_ptr());
    // SAFETY: empty paths, valid for the call; integers.
    check(unsafe { libc::syscall(libc::SYS_move_mount, from, none, to, none, BOTH_EMPTY) })?;
    Ok(())
}

pub fn mount_tmpfs_here(options: &CStr, noexec: bool) -> io::Result<()> {
    let exec = if noexec { libc::MS_NOEXEC } else { 0 };
    let flags = libc::MS_NOSUID | libc::MS_NODEV | exec;
    let (kind, here) = (c"tmpfs".as_ptr(), c".".as_ptr());
    // SAFETY: NUL-terminated strings, valid for the call.
    let r = unsafe { libc::mount(kind, here, kind, flags, options.as_ptr().cast()) };
    check(r.into())?;
    Ok(())
}

/// Mounts a read-only `/proc` of this pid namespace here, with the reader's processes. proc(5): `subset`, `hidepid`.
pub fn mount_proc_here() -> io::Result<()> {
    let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    let (kind, here) = (c"proc".as_ptr(), c".".as_ptr());
    let options = c"subset=pid,hidepid=2".as_ptr();
    // SAFETY: NUL-terminated strings, valid for the call.
    let r = unsafe { libc::mount(kind, here, kind, flags, options.cast()) };
    check(r.into())?;
    Ok(())
}

/// Makes the working directory, a mount, the root of this namespace, and detaches the old one. pivot_root(2).
pub fn pivot_here() -> io::Result<()> {
    let here = c".".as_ptr();
    // SAFETY: NUL-terminated strings, valid for the call.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, here, here) })?;
    // SAFETY: as above. The old root is now mounted over the new one.
    check(unsafe { libc::umount2(here, libc::MNT_DETACH) }.into())?;
    super::change_dir(c"/")
}

pub fn change_to(dir: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::fchdir(dir.as_raw_fd()) }.into())?;
    Ok(())
}

pub fn make_dir_at(dir: BorrowedFd<'_>, path: &CStr, mode: u32) -> io::Result<()> {
    // SAFETY: a path valid for the call.
    check(unsafe { libc::mkdirat(dir.as_raw_fd(), path.as_ptr(), mode) }.into())?;
    Ok(())
}

pub fn make_file_at(dir: BorrowedFd<'_>, path: &CStr, text: &[u8]) -> io::Result<()> {
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: a path valid for the call, and the mode that O_CREAT needs.
    let fd = unsafe { libc::openat(dir.as_raw_fd(), path.as_ptr(), flags, 0o444) };
    check(fd.into())?;
    // SAFETY: a new descriptor that nobody else owns.
    let file = unsafe { OwnedFd::from_raw_fd(fd) };
    if super::write(std::os::fd::AsFd::as_fd(&file), text)? == text.len() {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::ENOSPC))
    }
}

pub fn make_link_at(to: &CStr, dir: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
    // SAFETY: paths valid for the call.
    check(unsafe { libc::symlinkat(to.as_ptr(), dir.as_raw_fd(), path.as_ptr()) }.into())?;
    Ok(())
}

pub fn stat_of(fd: BorrowedFd<'_>) -> io::Result<libc::stat> {
    // SAFETY: all fields are integers, for which zero is valid.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: a buffer valid for the call.
    check(unsafe { libc::fstat(fd.as_raw_fd(), &raw mut stat) }.into())?;
    Ok(stat)
}

pub fn read_link(path: &CStr, buf: &mut [u8]) -> io::Result<usize> {
    // SAFETY: a path valid for the call, and a buffer of the given length.
    let n = unsafe { libc::readlink(path.as_ptr(), buf.as_mut_ptr().cast(), buf.len()) };
    Ok(check(n as libc::c_long)? as usize)
}

/// Checks that this process may execute `path`, by mode and mount; follows links. access(2).
pub fn may_execute(path: &CStr) -> io::Result<()> {
    // SAFETY: a path valid for the call.
    check(unsafe { libc::access(path.as_ptr(), libc::X_OK) }.into())?;
    Ok(())
}
