//! Answers seccomp user notifications (seccomp_unotify(2)). The listener alone is needed for that, no privilege.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;

/// A system call that a process is in until it is answered.
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
