//! Mounts, and the access control list of a file: one more group may read and write it. acl(5), xattr(7).

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::check;

#[repr(C)]
#[derive(Default)]
pub(super) struct MountAttr {
    pub(super) set: u64,
    pub(super) clear: u64,
    pub(super) propagation: u64,
    pub(super) userns_fd: u64,
}

pub const RDONLY: u64 = 1;
pub const NOSUID: u64 = 2;
pub const NODEV: u64 = 4;
pub const NOEXEC: u64 = 8;

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Private,
    /// They happen there, too. New mounts are writable, so the tree must be cut off before a job is in it.
    Slave,
}

/// Sets `attributes` and the propagation on every mount from `/` down, in one step. mount_setattr(2), Linux 5.12.
pub fn set_whole_tree(attributes: u64, propagation: Propagation) -> io::Result<()> {
    let attr = MountAttr {
        set: attributes,
        propagation: match propagation {
            Propagation::Private => libc::MS_PRIVATE,
            Propagation::Slave => libc::MS_SLAVE,
        },
        ..MountAttr::default()
    };
    set_attributes(libc::AT_FDCWD, c"/", libc::AT_RECURSIVE, &attr)
}

pub fn copy_mount(path: &CStr) -> io::Result<OwnedFd> {
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as libc::c_uint;
    // SAFETY: a path, valid for the call.
    let fd =
        check(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

pub fn allow_devices(mount: BorrowedFd<'_>) -> io::Result<()> {
    let attr = MountAttr {
        clear: NODEV,
        ..MountAttr::default()
    };
    set_attributes(mount.as_raw_fd(), c"", libc::AT_EMPTY_PATH, &attr)
}

pub fn attach_mount(mount: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
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

pub fn mount_tmpfs(path: &CStr, options: &CStr) -> io::Result<()> {
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    let kind = c"tmpfs".as_ptr();
    // SAFETY: NUL-terminated strings, valid for the call.
    let r = unsafe { libc::mount(kind, path.as_ptr(), kind, flags, options.as_ptr().cast()) };
    check(r.into())?;
    Ok(())
}

pub fn own_mounts() -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) }.into())?;
    Ok(())
}

pub fn set_namespace(namespace: BorrowedFd<'_>, kind: i32) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::setns(namespace.as_raw_fd(), kind) }.into())?;
    Ok(())
}

pub fn detached_proc() -> io::Result<OwnedFd> {
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

pub fn open(path: &CStr, flags: i32) -> io::Result<OwnedFd> {
    open_at(None, path, flags)
}

pub fn open_at(dir: Option<BorrowedFd<'_>>, path: &CStr, flags: i32) -> io::Result<OwnedFd> {
    let at = dir.map_or(libc::AT_FDCWD, |d| d.as_raw_fd());
    // SAFETY: a path valid for the call. No mode, because nothing here creates a file.
    let fd = unsafe { libc::openat(at, path.as_ptr(), flags | libc::O_CLOEXEC) };
    check(fd.into())?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub fn change_dir(path: &CStr) -> io::Result<()> {
    // SAFETY: a path valid for the call.
    check(unsafe { libc::chdir(path.as_ptr()) }.into())?;
    Ok(())
}

pub fn make_dir(path: &CStr, mode: u32) -> io::Result<()> {
    // SAFETY: a path valid for the call.
    check(unsafe { libc::mkdir(path.as_ptr(), mode) }.into())?;
    Ok(())
}

pub fn stat(path: &CStr) -> io::Result<libc::stat> {
    // SAFETY: all fields are integers, for which zero is valid.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: a path and a buffer, valid for the call.
    check(unsafe { libc::stat(path.as_ptr(), &raw mut stat) }.into())?;
    Ok(stat)
}

pub fn disk_of(path: &CStr) -> io::Result<u32> {
    // SAFETY: all fields are integers, for which zero is valid.
    let mut disk: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: a path and a buffer, valid for the call.
    check(unsafe { libc::statfs(path.as_ptr(), &raw mut disk) }.into())?;
    // No magic number has more than 32 bits.
    Ok(disk.f_type as u32)
}

/// Returns true if there is no such file; follows links.
pub fn is_missing(path: &CStr) -> bool {
    let errno = stat(path).err().and_then(|error| error.raw_os_error());
    matches!(errno, Some(libc::ENOENT | libc::ENOTDIR))
}

pub fn mode_of(path: &CStr) -> io::Result<u32> {
    stat(path).map(|stat| stat.st_mode)
}

const ACL_NAME: &CStr = c"system.posix_acl_access";
const ACL_VERSION: u32 = 2;
const USER_OBJ: u16 = 0x01;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
const READ_WRITE: u16 = 0o6;
const NOTHING: u16 = 0;
const NO_ID: u32 = u32::MAX;

fn list(gid: u32) -> Vec<u8> {
    let entries = [
        (USER_OBJ, READ_WRITE, NO_ID),
        (GROUP_OBJ, READ_WRITE, NO_ID),
        (GROUP, READ_WRITE, gid),
        (MASK, READ_WRITE, NO_ID),
        (OTHER, NOTHING, NO_ID),
    ];
    let mut bytes = ACL_VERSION.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// Lets only the owner, the owning group and group `gid` use the file: mode 0660, one ACL entry. Follows no final link.
pub fn open_to_group(path: &Path, gid: u32) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let list = list(gid);
    let flags = 0;
    // SAFETY: two NUL-terminated strings, and a buffer of `list.len()` bytes, all valid for the call.
    let answer = unsafe {
        libc::lsetxattr(
            path.as_ptr(),
            ACL_NAME.as_ptr(),
            list.as_ptr().cast(),
            list.len(),
            flags,
        )
    };
    check(answer.into()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acl_bytes_match_kernel_header() {
        let bytes = list(0x0102);
        assert_eq!(bytes.len(), 44);
        assert_eq!(bytes[..4], [2, 0, 0, 0]);
        assert_eq!(bytes[20..28], [8, 0, 6, 0, 2, 1, 0, 0]);
        assert_eq!(bytes[36..], [0x20, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    }
}
