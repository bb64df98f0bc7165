//! Closes what may hang, on threads that may hang.
//!
//! No thread that serves closes a socket in which a stranger may have left a descriptor. There is always a thread for
//! the next one, whatever the ones before wait for.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::socket::{ROOM, floor};

/// The argument of the process that [`sink`] is for.
pub const ARGUMENT: &std::ffi::CStr = c"--sink";
/// What one byte says to it: to keep the descriptor beside it.
pub const HOLD: u8 = b'h';
/// To close what it keeps: whoever sent it has closed theirs.
pub const CLOSE: u8 = b'c';

/// Threads that may hang at once. Whoever gives it something bounds how much hangs; this is beyond that.
const THREADS: usize = 1024;
/// Threads of the process that closes for the warden. More, and it is ended, with all that hangs in it.
const SINK_THREADS: usize = 128;
/// A thread without work ends after this.
const IDLE: Duration = Duration::from_secs(10);
/// What a thread that only closes needs.
const STACK: usize = 64 << 10;

/// Threads that close.
#[derive(Clone, Debug)]
pub struct Closer {
    shared: Arc<Shared>,
    most: usize,
}

impl Default for Closer {
    fn default() -> Self {
        Self::with(THREADS)
    }
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Work>,
    idle: usize,
    threads: usize,
}

/// A descriptor, and what is dropped when it is closed.
type Work = (OwnedFd, Box<dyn Send>);

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} threads, {} idle", self.threads, self.idle)
    }
}

impl Closer {
    fn with(most: usize) -> Self {
        Self {
            shared: Arc::default(),
            most,
        }
    }

    /// Closes `fd`, and drops `then` when that is done. Never waits.
    pub fn close(&self, fd: OwnedFd, then: impl Send + 'static) {
        let mut state = self.shared.lock();
        state.waiting.push_back((fd, Box::new(then)));
        if state.waiting.len() > state.idle && state.threads < self.most {
            let shared = Arc::clone(&self.shared);
            let thread = thread::Builder::new().stack_size(STACK);
            // One that cannot be made now is made for the next, and closes this one, too.
            if thread.spawn(move || shared.work()).is_ok() {
                state.threads += 1;
            }
        }
        self.shared.changed.notify_all();
    }

    /// Waits until less is waiting than one thread can do.
    fn until_taken(&self) {
        let mut state = self.shared.lock();
        while !state.waiting.is_empty() {
            let changed = self.shared.changed.wait(state);
            state = changed.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some((fd, then)) = state.waiting.pop_front() {
                self.changed.notify_all();
                drop(state);
                drop(fd);
                drop(then);
                state = self.lock();
                continue;
            }
            state.idle += 1;
            let waited = self.changed.wait_timeout(state, IDLE);
            let (woken, timed_out) = waited.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if timed_out.timed_out() && state.waiting.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

/// Closes what comes by `from`, a blocking SOCK_SEQPACKET socket, until its other end is closed. For a process that
/// does nothing else, and that whoever sends ends when it takes no more.
///
/// # Errors
/// What recvmsg(2) says.
pub fn sink(from: &OwnedFd) -> Result<(), Errno> {
    let closer = Closer::with(SINK_THREADS);
    let mut control = nix::cmsg_space!([std::os::fd::RawFd; ROOM]);
    let mut held = Vec::new();
    loop {
        closer.until_taken();
        let mut byte = [0];
        let mut slices = [std::io::IoSliceMut::new(&mut byte)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let received = recvmsg::<()>(from.as_raw_fd(), &mut slices, Some(&mut control), flags);
        let message = match received {
            Err(Errno::EINTR) => continue,
            received => received?,
        };
        if message.bytes == 0 {
            return Ok(());
        }
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = control {
                held.extend(raw.into_iter().map(floor::own));
            }
        }
        if byte == [CLOSE] {
            held.drain(..).for_each(|fd| closer.close(fd, ()));
        }
    }
}

/// The socket of [`sink`]: descriptor 3 of a process that was just started.
///
/// # Errors
/// There is none.
pub fn sink_socket() -> std::io::Result<OwnedFd> {
    floor::inherited()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn closes_what_it_gets_and_says_so() {
        let closer = Closer::default();
        let (done, is_done) = mpsc::channel::<()>();
        let mut readers = Vec::new();
        for _ in 0..50 {
            let (reader, writer) = std::io::pipe().unwrap();
            closer.close(writer.into(), done.clone());
            readers.push(reader);
        }
        drop(done);
        assert_eq!(is_done.recv(), Err(mpsc::RecvError));
        for mut reader in readers {
            assert_eq!(std::io::Read::read(&mut reader, &mut [0]).unwrap(), 0);
        }
    }

    /// What is dropped after a close may hang as a close does.
    struct Hangs(mpsc::Receiver<()>);

    impl Drop for Hangs {
        fn drop(&mut self) {
            let _ = self.0.recv();
        }
    }

    #[test]
    fn one_that_hangs_keeps_no_other_waiting() {
        let closer = Closer::default();
        let pipe = || std::io::pipe().unwrap().0.into();
        let mut held = Vec::new();
        for _ in 0..20 {
            let (release, released) = mpsc::channel();
            closer.close(pipe(), Hangs(released));
            held.push(release);
        }
        let (done, is_done) = mpsc::channel::<()>();
        closer.close(pipe(), done);
        assert_eq!(is_done.recv(), Err(mpsc::RecvError));
        drop(held);
    }
}
