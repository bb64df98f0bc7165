//! Ends workers and what they have forked. Only their parent reaps them: see [`gone`].

use crate::sys;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::{
    cell::RefCell,
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

/// Milliseconds in which a killed process must end, before it is left to end by itself.
const ENDING_MS: u16 = 100;
thread_local! {
    static GONE: RefCell<Vec<i32>> = const { RefCell::new(Vec::new()) };
}

/// Returns the children that were ended since the last call, for their parent to reap. A few may not have ended yet.
pub fn gone() -> Vec<i32> {
    GONE.take()
}

/// Leaves a child, which has ended or is ending, to its parent.
pub(crate) fn leave(pid: i32) {
    GONE.with_borrow_mut(|gone| gone.push(pid));
}

/// Kills a child, and waits a moment for its end.
pub(super) fn end(pid: i32, pidfd: BorrowedFd<'_>) {
    let _ = sys::pidfd_send_signal(pidfd, libc::SIGKILL);
    let mut ended = [PollFd::new(pidfd, PollFlags::POLLIN)];
    let _ = poll(&mut ended, PollTimeout::from(ENDING_MS));
    leave(pid);
}

pub(super) fn watched(pid: i32) -> io::Result<OwnedFd> {
    sys::pidfd_open(pid).inspect_err(|_| {
        // A child that nobody has reaped: so the number is still its own.
        let _ = sys::kill(pid, libc::SIGKILL);
        leave(pid);
    })
}
