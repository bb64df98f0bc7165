use super::check;
use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

/// `struct landlock_ruleset_attr` as of ABI 6. Older kernels accept it if the fields that they do not know are zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handled {
    pub fs: u64,
    pub net: u64,
    pub scoped: u64,
}

#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: RawFd,
}

fn ask(flag: u32) -> io::Result<u32> {
    let none = std::ptr::null::<Handled>();
    // SAFETY: the kernel takes a null attribute of size 0 for these questions.
    Ok(check(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0, flag) })? as u32)
}

pub fn landlock_abi() -> io::Result<u32> {
    ask(1)
}

pub fn landlock_errata() -> io::Result<u32> {
    ask(2)
}

pub fn landlock_ruleset(handled: &Handled) -> io::Result<OwnedFd> {
    let size = size_of::<Handled>();
    // SAFETY: a structure of the given size, valid for the call.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            handled as *const Handled,
            size,
            0,
        )
    })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

pub fn landlock_grant(
    ruleset: BorrowedFd<'_>,
    parent: BorrowedFd<'_>,
    allowed: u64,
) -> io::Result<()> {
    let rule = PathBeneath {
        allowed,
        parent: parent.as_raw_fd(),
    };
    let (path_beneath, fd) = (1, ruleset.as_raw_fd());
    // SAFETY: the structure of this rule type, valid for the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            fd,
            path_beneath,
            &raw const rule,
            0,
        )
    })?;
    Ok(())
}

/// `LANDLOCK_RESTRICT_SELF_LOG_NEW_EXEC_ON`, ABI 7: audit also reports refusals to programs that are executed in the
/// domain. By default that ends with the first exec.
pub const LOG_NEW_EXEC_ON: u32 = 1 << 1;

pub fn landlock_restrict(ruleset: BorrowedFd<'_>, flags: u32) -> io::Result<()> {
    let fd = ruleset.as_raw_fd();
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, fd, flags) })?;
    Ok(())
}
