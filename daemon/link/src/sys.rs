//! Operations without a safe API: taking ownership of descriptors, and the option SO_PASSRIGHTS.
#![allow(unsafe_code)]

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

/// The kernel's maximum (unix(7)). The buffer holds all: descriptors of a truncated message could not be closed.
pub const SCM_MAX_FD: usize = 253;

/// Takes the descriptor of a value in its drop. `held` must not be used afterwards.
pub fn take(held: &mut ManuallyDrop<OwnedFd>) -> OwnedFd {
    // SAFETY: the callers are destructors, which run once and do not use `held` again.
    unsafe { ManuallyDrop::take(held) }
}

/// `SO_PASSRIGHTS` of Linux 6.16: the generic number, for x86 and arm.
pub const SO_PASSRIGHTS: i32 = 83;

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

/// Makes the kernel refuse descriptors sent from now on to `socket`, or to later connections to it. Returns ENOPROTOOPT
/// if it lacks the option.
pub fn refuse_rights(socket: impl AsFd) -> io::Result<()> {
    let (value, length) = (0_i32, size_of::<i32>() as nix::libc::socklen_t);
    let (level, raw) = (nix::libc::SOL_SOCKET, socket.as_fd().as_raw_fd());
    let at = (&raw const value).cast();
    // SAFETY: one integer, valid for the call.
    match unsafe { nix::libc::setsockopt(raw, level, SO_PASSRIGHTS, at, length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Takes over a descriptor that this process just got from recvmsg(2) or from its parent. Nothing else may use its number.
pub fn own(raw: RawFd) -> OwnedFd {
    // SAFETY: the callers have just got `raw`, each for one use. It is open, and nothing else uses its number.
    unsafe { OwnedFd::from_raw_fd(raw) }
}
