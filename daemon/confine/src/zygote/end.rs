//! The end of zygotes and of what they have forked: all are children of this process, which nobody else reaps.

use crate::floor;
use crate::steps::{UNTOLD, UNTOLD_LEN};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::{
    cell::RefCell,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

/// How long one that was killed may take to end, in milliseconds, before it is left to end alone.
const ENDING_MS: u16 = 100;
/// How long a child may take to notice that its zygote is gone, in milliseconds: it is on its way for less than one.
const UNTOLD_MS: u16 = 1000;

thread_local! {
    /// Those that took longer to end: on a busy machine a mount namespace may.
    static LATE: RefCell<Vec<(i32, OwnedFd)>> = const { RefCell::new(Vec::new()) };
}

/// Kills a child, and reaps it; one that hangs in the kernel [later](reap_late).
pub(super) fn end(pid: i32, pidfd: BorrowedFd<'_>) {
    let _ = floor::pidfd_send_signal(pidfd, libc::SIGKILL);
    let _ = poll(
        &mut [PollFd::new(pidfd, PollFlags::POLLIN)],
        PollTimeout::from(ENDING_MS),
    );
    if floor::reap(pid).is_none()
        && let Ok(pidfd) = pidfd.try_clone_to_owned()
    {
        LATE.with_borrow_mut(|late| late.push((pid, pidfd)));
    }
}

/// Reaps those that had not ended when they were last looked at, and waits for them so long.
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
            floor::reap(*pid).is_none()
        });
    });
}

/// A descriptor of a child that a zygote has made for this process. Without, it is killed and reaped.
pub(super) fn watched(pid: i32) -> io::Result<OwnedFd> {
    floor::pidfd_open(pid).inspect_err(|_| {
        // Our own child, which nobody else reaps: so the number is still its.
        let _ = floor::kill(pid, libc::SIGKILL);
        let _ = floor::wait(pid, 0);
    })
}

/// Reaps the child that a zygote has forked and not told of before it ended, if there is one: it says its pid
/// by the step pipe, whose other end it alone has, and ends.
pub(super) fn reap_untold(steps: BorrowedFd<'_>) {
    let mut said = [0; UNTOLD_LEN];
    let mut wait = [PollFd::new(steps, PollFlags::POLLIN)];
    let length = match poll(&mut wait, UNTOLD_MS) {
        Ok(1..) => floor::read(steps, &mut said).unwrap_or(0),
        _ => 0,
    };
    let [UNTOLD, pid @ ..] = said.get(..length).unwrap_or_default() else {
        return;
    };
    let pid = str::from_utf8(pid).ok().and_then(|pid| pid.parse().ok());
    if let Some(pid) = pid.filter(|pid: &i32| *pid > 1) {
        let _ = floor::wait(pid, 0);
    }
}
