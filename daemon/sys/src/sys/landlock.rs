//! Landlock, and answers to seccomp user notifications (seccomp_unotify(2)): that needs only the listener.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::check;

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

/// `LANDLOCK_RESTRICT_SELF_LOG_NEW_EXEC_ON`, ABI 7: audit reports refusals also after an exec in the domain.
pub const LOG_NEW_EXEC_ON: u32 = 1 << 1;

pub fn landlock_restrict(ruleset: BorrowedFd<'_>, flags: u32) -> io::Result<()> {
    let fd = ruleset.as_raw_fd();
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, fd, flags) })?;
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification {
    pub id: u64,
    /// The thread, as this pid namespace sees it; 0 if it does not.
    pub pid: u32,
    pub number: i32,
    pub args: [u64; 6],
}

/// Receives the next one, after poll(2) has reported it. `None` if its process is gone.
pub fn receive_notification(listener: BorrowedFd<'_>) -> io::Result<Option<Notification>> {
    // The kernel refuses a structure that is not zero.
    let mut raw = libc::seccomp_notif {
        id: 0,
        pid: 0,
        flags: 0,
        data: libc::seccomp_data {
            nr: 0,
            arch: 0,
            instruction_pointer: 0,
            args: [0; 6],
        },
    };
    let (fd, request) = (listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV);
    // SAFETY: the structure of this request, which has its size in it, valid for the call.
    match check(unsafe { libc::ioctl(fd, request, &raw mut raw) }.into()) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => Ok(None),
        Err(error) => Err(error),
        Ok(_) => Ok(Some(Notification {
            id: raw.id,
            pid: raw.pid,
            number: raw.data.nr,
            args: raw.data.args,
        })),
    }
}

/// Returns true if the process is still in the call. What was read about its pid before is then about this process.
pub fn is_notification_pending(listener: BorrowedFd<'_>, id: u64) -> bool {
    let (fd, request) = (listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID);
    // SAFETY: an integer of 8 bytes, valid for the call.
    check(unsafe { libc::ioctl(fd, request, &raw const id) }.into()).is_ok()
}

/// Installs a copy of `source` at number `at` of the process, close-on-exec, over what is open there.
pub fn install_descriptor(
    listener: BorrowedFd<'_>,
    id: u64,
    source: BorrowedFd<'_>,
    at: u32,
) -> io::Result<()> {
    let raw = libc::seccomp_notif_addfd {
        id,
        flags: libc::SECCOMP_ADDFD_FLAG_SETFD as u32,
        srcfd: source.as_raw_fd().cast_unsigned(),
        newfd: at,
        newfd_flags: libc::O_CLOEXEC.cast_unsigned(),
    };
    let (fd, request) = (listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD);
    // SAFETY: the structure of this request, valid for the call.
    check(unsafe { libc::ioctl(fd, request, &raw const raw) }.into())?;
    Ok(())
}

/// Makes the call return 0, or fail with `errno`. ENOENT if the process is gone.
pub fn answer_notification(
    listener: BorrowedFd<'_>,
    id: u64,
    errno: Option<i32>,
) -> io::Result<()> {
    let raw = libc::seccomp_notif_resp {
        id,
        val: 0,
        error: -errno.unwrap_or(0),
        flags: 0,
    };
    let (fd, request) = (listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND);
    // SAFETY: the structure of this request, valid for the call.
    check(unsafe { libc::ioctl(fd, request, &raw const raw) }.into())?;
    Ok(())
}
