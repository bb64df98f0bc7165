//! Ends workers and what they have forked. All are children of this process, and nobody else reaps them.

use crate::steps::{UNREPORTED, UNREPORTED_LEN};
use crate::sys;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::{
    cell::RefCell,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

/// Milliseconds in which a killed process must end, before it is left to end by itself.
const ENDING_MS: u16 = 100;
/// Milliseconds in which a child must notice that its worker is gone; it is on its way for less than one.
const UNREPORTED_MS: u16 = 1000;

thread_local! {
    /// Processes that took longer to end: on a busy machine a mount namespace may.
    static LATE: RefCell<Vec<(i32, OwnedFd)>> = const { RefCell::new(Vec::new()) };
}

/// Kills a child and reaps it; one that hangs in the kernel is reaped [later](reap_late).
pub(super) fn end(pid: i32, pidfd: BorrowedFd<'_>) {
    let _ = sys::pidfd_send_signal(pidfd, libc::SIGKILL);
    let _ = poll(
        &mut [PollFd::new(pidfd, PollFlags::POLLIN)],
        PollTimeout::from(ENDING_MS),
    );
    if sys::reap(pid).is_none()
        && let Ok(pidfd) = pidfd.try_clone_to_owned()
    {
        LATE.with_borrow_mut(|late| late.push((pid, pidfd)));
    }
}

pub(super) fn reap_late(patience: Duration) {
    let end = Instant::now() + patience;
    LATE.with_borrow_mut(|late| {
        late.retain(|(pid, pidfd)| {
            let left = end.saturating_duration_since(Instant::now());
            let mut ended = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
            let _ = poll(
                &mut ended,
                PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO),
            );
            sys::reap(*pid).is_none()
        });
    });
}

pub(super) fn watched(pid: i32) -> io::Result<OwnedFd> {
    sys::pidfd_open(pid).inspect_err(|_| {
        // Our own child, which nobody else reaps: so the number is still its own.
        let _ = sys::kill(pid, libc::SIGKILL);
        let _ = sys::wait(pid, 0);
    })
}

/// Reaps the child that a worker has forked but not reported before it ended, if there is one. The child writes its
/// pid to the step pipe, whose other end only it has, and exits.
pub(super) fn reap_unreported(steps: BorrowedFd<'_>) {
    let mut said = [0; UNREPORTED_LEN];
    let mut wait = [PollFd::new(steps, PollFlags::POLLIN)];
    let length = match poll(&mut wait, UNREPORTED_MS) {
        Ok(1..) => sys::read(steps, &mut said).unwrap_or(0),
        _ => 0,
    };
    let [UNREPORTED, pid @ ..] = said.get(..length).unwrap_or_default() else {
        return;
    };
    let pid = str::from_utf8(pid).ok().and_then(|pid| pid.parse().ok());
    if let Some(pid) = pid.filter(|pid: &i32| *pid > 1) {
        let _ = sys::wait(pid, 0);
    }
}
