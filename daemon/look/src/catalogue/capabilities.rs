//! Reads the capabilities of a file, which needs no right but that to open it. What cannot be read is left unread, and then
//! `remit-commit` refuses to change a file that has them.

use std::fs::File;

use nix::errno::Errno;
use remit_plan::OldCapabilities;
use remit_sys::sys;

pub fn capabilities(file: &File) -> OldCapabilities {
    match sys::xattr(file, sys::FILE_CAPABILITIES) {
        Ok(value) => OldCapabilities::from_attribute(Some(&value)),
        Err(error) => match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENODATA | Errno::EOPNOTSUPP) => OldCapabilities::from_attribute(None),
            _ => OldCapabilities::Unread,
        },
    }
}
