use super::check;
use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    time::Duration,
};

#[repr(C)]
struct NetPort {
    allowed: u64,
    port: u64,
}

/// Enters a new network namespace, empty except for a loopback interface that is down. unshare(2).
pub fn own_network() -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) }.into())?;
    Ok(())
}

pub fn poll(fds: &mut [libc::pollfd], most: Option<Duration>) -> io::Result<()> {
    let most = most.map_or(-1, |most| {
        // Rounded up: a time that is not over never becomes 0.
        i32::try_from(most.as_millis().saturating_add(1)).unwrap_or(i32::MAX)
    });
    // SAFETY: an array of the given length, valid for the call.
    check(unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, most) }.into())?;
    Ok(())
}

pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::kill(pid, signal) }.into())?;
    Ok(())
}

pub fn landlock_grant_port(ruleset: BorrowedFd<'_>, port: u16, allowed: u64) -> io::Result<()> {
    let rule = NetPort {
        allowed,
        port: port.into(),
    };
    let (net_port, fd) = (2, ruleset.as_raw_fd());
    // SAFETY: the structure of this rule type, valid for the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            fd,
            net_port,
            &raw const rule,
            0,
        )
    })?;
    Ok(())
}
