//! The connect(2) of a job, as the kernel asks about it. Nothing of the job's memory is read, and the call is never
//! continued: it gets a connection of the proxy, or an error.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::stat::stat;
use remit_sys::sys::{self, Notification};

/// A connect(2) that must be answered.
#[derive(Debug)]
pub struct Asked<'a> {
    listener: BorrowedFd<'a>,
    notification: Notification,
    /// Uid of the job.
    pub uid: u32,
}

/// Receives a notification. `Ok(None)` if nothing is left to answer. Fails if the listener is of no more use.
pub fn receive(listener: &OwnedFd) -> std::io::Result<Option<Asked<'_>>> {
    let listener = listener.as_fd();
    let Some(notification) = sys::receive_notification(listener)? else {
        return Ok(None);
    };
    let refuse = |errno| {
        // The process may be gone.
        let _ = sys::answer_notification(listener, notification.id, Some(errno));
        Ok(None)
    };
    if i64::from(notification.number) != libc::SYS_connect {
        return refuse(libc::EPERM);
    }
    // stat(2) has the effective uid, as `status` has, but its cost is not the job's to choose. It needs no right.
    let Ok(process) = stat(format!("/proc/{}", notification.pid).as_str()) else {
        return refuse(libc::ECONNREFUSED);
    };
    match sys::is_notification_pending(listener, notification.id) {
        true => Ok(Some(Asked {
            listener,
            notification,
            uid: process.st_uid,
        })),
        false => Ok(None),
    }
}

impl Asked<'_> {
    pub fn refuse(self) {
        let (id, errno) = (self.notification.id, libc::ECONNREFUSED);
        let _ = sys::answer_notification(self.listener, id, Some(errno));
    }

    /// Puts `end` in the position of the job's socket. Returns false if the job has not got it.
    pub fn connect(self, end: &OwnedFd) -> bool {
        let [socket, ..] = self.notification.args;
        // The kernel takes the lower half for a descriptor, too.
        let socket = (socket & u64::from(u32::MAX)) as u32;
        let (listener, id) = (self.listener, self.notification.id);
        if sys::install_descriptor(listener, id, end.as_fd(), socket).is_err() {
            self.refuse();
            return false;
        }
        // Not in one call: SECCOMP_ADDFD_FLAG_SEND answers with the number of the descriptor, and connect(2) must
        // return 0. A job that dies between the two closes the end.
        sys::answer_notification(listener, id, None).is_ok()
    }
}
