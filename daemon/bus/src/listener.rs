//! A job's connect(2). It gets a connection of the proxy, or an error: no memory of the job is read, no call continued.
//!
//! A job decides how long a call on its listener takes: its own task installs the descriptor, and holds the listener's
//! lock meanwhile. So threads make these calls: one for each listener, and one for each connection.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender, sync_channel};
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use nix::sys::stat::stat;
use remit_sys::sys::{self, Notification};

use crate::account::ADDRESSES;
use crate::ends::JobEnd;

const STACK: usize = 64 << 10;
/// Numbers of descriptors that each table has (NR_OPEN_DEFAULT of Linux). For a larger one the kernel can make the job's task
/// sleep with the listener's lock: that job then decides how long others of its listener cannot connect, nor be ended.
const IN_EVERY_TABLE: u32 = 64;

/// A question of a listener's thread, which does nothing until it is answered.
#[derive(Debug)]
pub struct Asked {
    pub uid: u32,
    /// The address may be that of a service that knows accounts, and is not the bus's.
    pub is_for_accounts: bool,
    /// `None` refuses.
    pub answer: SyncSender<Option<JobEnd>>,
}

/// The way to the loop.
#[derive(Clone, Debug)]
pub struct ToLoop {
    pub to: Sender<Asked>,
    pub wake: Arc<EventFd>,
}

#[derive(Clone, Debug)]
struct PendingConnect {
    listener: Arc<OwnedFd>,
    notification: Notification,
}

/// Serves a listener on a thread until it is of no more use. The kernel answers later calls there with ENOSYS.
pub fn serve(listener: OwnedFd, asking: ToLoop) -> io::Result<()> {
    let listener = Arc::new(listener);
    spawn(move || while turn(&listener, &asking) {})
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().stack_size(STACK);
    thread.spawn(work).map(drop)
}

/// Answers one notification. Returns false if the listener is of no more use.
fn turn(listener: &Arc<OwnedFd>, asking: &ToLoop) -> bool {
    let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    let polled = poll(&mut fds, PollTimeout::NONE);
    let [fd] = fds;
    let events = fd.revents().unwrap_or(PollFlags::POLLNVAL);
    if !events.contains(PollFlags::POLLIN) {
        // The kernel reports a signal that comes before it has the lock as POLLERR.
        let is_interrupted = polled == Err(Errno::EINTR) || events == PollFlags::POLLERR;
        return is_interrupted;
    }
    let notification = match sys::receive_notification(listener.as_fd()) {
        Ok(Some(notification)) => notification,
        Ok(None) => return true,
        Err(_) => return false,
    };
    let listener = Arc::clone(listener);
    let pending = PendingConnect {
        listener,
        notification,
    };
    if i64::from(notification.number) != libc::SYS_connect {
        pending.answer(Some(libc::EPERM));
        return true;
    }
    if pending.socket() >= IN_EVERY_TABLE {
        pending.refuse();
        return true;
    }
    // stat(2) has the effective uid, as `status` has, but its cost is not the job's to choose. It needs no right.
    let Ok(process) = stat(format!("/proc/{}", notification.pid).as_str()) else {
        pending.refuse();
        return true;
    };
    if !pending.exists() {
        return true;
    }
    let (answer, answered) = sync_channel(1);
    let asked = Asked {
        uid: process.st_uid,
        is_for_accounts: pending.is_for_accounts(),
        answer,
    };
    // If the loop has ended, nobody answers.
    let is_asked = asking.to.send(asked).is_ok() && asking.wake.write(1).is_ok();
    let Some(Ok(end)) = is_asked.then(|| answered.recv()) else {
        return false;
    };
    let Some(end) = end else {
        pending.refuse();
        return true;
    };
    let connecting = pending.clone();
    if spawn(move || connecting.connect(end)).is_err() {
        pending.refuse();
    }
    true
}

impl PendingConnect {
    /// Returns true if the process is still in the call. What was read about its pid is then about this process.
    fn exists(&self) -> bool {
        sys::is_notification_pending(self.listener.as_fd(), self.notification.id)
    }

    fn is_for_accounts(&self) -> bool {
        let [_, _, length, ..] = self.notification.args;
        ADDRESSES.contains(&(length & u64::from(u32::MAX)))
    }

    fn answer(&self, errno: Option<i32>) {
        // The process may be gone.
        let _ = sys::answer_notification(self.listener.as_fd(), self.notification.id, errno);
    }

    fn refuse(&self) {
        self.answer(Some(libc::ECONNREFUSED));
    }

    // The kernel takes the lower half for a descriptor, too.
    fn socket(&self) -> u32 {
        let [socket, ..] = self.notification.args;
        (socket & u64::from(u32::MAX)) as u32
    }

    /// Puts `end` in the position of the job's socket. A job that does not get it closes it.
    fn connect(self, end: JobEnd) {
        let socket = self.socket();
        let JobEnd { fd, counted } = end;
        let (listener, id) = (self.listener.as_fd(), self.notification.id);
        let installed = sys::install_descriptor(listener, id, fd.as_fd(), socket);
        drop(fd);
        // Before the answer: the job can close its end and connect again at once.
        drop(counted);
        // Not in one call: SECCOMP_ADDFD_FLAG_SEND answers with the number of the descriptor, and connect(2) must return 0. A
        // job that dies between the two closes the end.
        match installed {
            Ok(()) => self.answer(None),
            Err(_) => self.refuse(),
        }
    }
}
