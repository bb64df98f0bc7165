//! Operations without a safe API: taking ownership of descriptors, and the option SO_PASSRIGHTS.
#![allow(unsafe_code)]

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::sync::atomic::{AtomicBool, Ordering};

/// The kernel's maximum (unix(7)). The buffer holds all: descriptors of a truncated message could not be closed.
pub(crate) const SCM_MAX_FD: usize = 253;

pub(crate) fn inherited() -> io::Result<OwnedFd> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    // A stat through /proc checks that it is an open socket without owning it.
    if !std::fs::metadata("/proc/self/fd/3")?
        .file_type()
        .is_socket()
        || TAKEN.swap(true, Ordering::SeqCst)
    {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "descriptor 3 is not the link, or was taken",
        ));
    }
    // SAFETY: descriptor 3 was just seen open. The parent passed it for this use, and nothing here opens sockets
    // earlier. `TAKEN` makes this the only owner.
    Ok(unsafe { OwnedFd::from_raw_fd(3) })
}

/// Takes the descriptor of a value in its drop. `held` must not be used afterwards.
pub(crate) fn take(held: &mut ManuallyDrop<OwnedFd>) -> OwnedFd {
    // SAFETY: the callers are destructors, which run once and do not use `held` again.
    unsafe { ManuallyDrop::take(held) }
}

/// `SO_PASSRIGHTS` of Linux 6.16: the generic number, for x86 and arm.
const SO_PASSRIGHTS: i32 = 83;

/// Returns true if descriptors can be sent to `socket`, and ENOPROTOOPT if the kernel lacks the option.
pub(crate) fn passes_rights(socket: impl AsFd) -> io::Result<bool> {
    let (mut value, mut length) = (1_i32, size_of::<i32>() as nix::libc::socklen_t);
    let (level, raw) = (nix::libc::SOL_SOCKET, socket.as_fd().as_raw_fd());
    let (at, length) = ((&raw mut value).cast(), &raw mut length);
    // SAFETY: one integer and its length, both valid for the call.
    match unsafe { nix::libc::getsockopt(raw, level, SO_PASSRIGHTS, at, length) } {
        0 => Ok(value != 0),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes the kernel refuse descriptors sent to `socket` from now on. Returns ENOPROTOOPT if it lacks the option.
pub(crate) fn refuse_rights(socket: impl AsFd) -> io::Result<()> {
    let (value, length) = (0_i32, size_of::<i32>() as nix::libc::socklen_t);
    let (level, raw) = (nix::libc::SOL_SOCKET, socket.as_fd().as_raw_fd());
    let at = (&raw const value).cast();
    // SAFETY: one integer, valid for the call.
    match unsafe { nix::libc::setsockopt(raw, level, SO_PASSRIGHTS, at, length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

pub(crate) fn own(raw: RawFd) -> OwnedFd {
    // SAFETY: recvmsg(2) installed `raw` here for this message only. It is open, and nothing else uses its number.
    unsafe { OwnedFd::from_raw_fd(raw) }
}
