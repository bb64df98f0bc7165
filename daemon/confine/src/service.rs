//! Starting the daemon's own unprivileged processes.

use crate::{Error, Result};
use std::{
    ffi::{CStr, CString},
    os::fd::{BorrowedFd, OwnedFd},
};

/// Runs `program` as `uid`, `gid` and exactly `groups`, without a capability, with `fds` as
/// `(ours, its number)`, stdin and stdout null, stderr inherited. Killed when the caller dies.
pub fn spawn_service(
    _program: &CStr,
    _argv: &[CString],
    _env: &[CString],
    _uid: u32,
    _gid: u32,
    _groups: &[u32],
    _fds: &[(BorrowedFd<'_>, i32)],
) -> Result<(i32, OwnedFd)> {
    Err(Error::refused("cannot start a service", "not built yet"))
}
