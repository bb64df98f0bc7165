//! Sets one access control list of a file: one more group may read and write it. acl(5), xattr(7).

use super::check;
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const NAME: &std::ffi::CStr = c"system.posix_acl_access";
const VERSION: u32 = 2;
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
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// Lets only the owner, the owning group and group `gid` read and write the file: mode 0660 and one ACL entry. Does
/// not follow a link in the last part of the path.
pub fn open_to_group(path: &Path, gid: u32) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let list = list(gid);
    let flags = 0;
    // SAFETY: two NUL-terminated strings, and a buffer of `list.len()` bytes, all valid for the call.
    let answer = unsafe {
        libc::lsetxattr(
            path.as_ptr(),
            NAME.as_ptr(),
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
