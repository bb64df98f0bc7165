//! Closes descriptors whose close(2) can hang, on threads that may hang: a thread that serves must not close a socket
//! that may hold a descriptor of an untrusted process. A free thread always exists for the next one.

use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::sys::{self, SCM_MAX_FD};

/// Argument of the process that runs [`sink`].
pub const ARGUMENT: &std::ffi::CStr = c"--sink";
/// Message byte: keep the attached descriptor.
pub const HOLD: u8 = b'h';
/// Message byte: close all kept descriptors. The sender has closed its own copies.
pub const CLOSE: u8 = b'c';

/// Threads that may hang at the same time. Callers bound their hanging closes below this number.
const THREADS: usize = 1024;
/// Threads of the warden's closing process. If all hang, it takes no more, and the warden kills it with them.
const SINK_THREADS: usize = 128;
const IDLE: Duration = Duration::from_secs(2);
const STACK: usize = 64 << 10;

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

/// Each has its own condition: a wake-up of threads that find nothing to do costs more than a close.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// One descriptor more is there: wakes one thread.
    added: Condvar,
    /// All of them were taken.
    taken: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Work>,
    idle: usize,
    threads: usize,
}

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

    /// Closes `fd` on another thread, then drops `then`. Never blocks.
    pub fn close(&self, fd: OwnedFd, then: impl Send + 'static) {
        let mut state = self.shared.lock();
        state.waiting.push_back((fd, Box::new(then)));
        if state.waiting.len() > state.idle && state.threads < self.most {
            let shared = Arc::clone(&self.shared);
            let thread = thread::Builder::new().stack_size(STACK);
            // If no thread can be spawned now, the next call spawns one, which closes this descriptor too.
            if thread.spawn(move || shared.work()).is_ok() {
                state.threads += 1;
                return;
            }
        }
        drop(state);
        self.shared.added.notify_one();
    }

    fn until_taken(&self) {
        let mut state = self.shared.lock();
        while !state.waiting.is_empty() {
            let taken = self.shared.taken.wait(state);
            state = taken.unwrap_or_else(PoisonError::into_inner);
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
                if state.waiting.is_empty() {
                    self.taken.notify_all();
                }
                drop(state);
                drop(fd);
                drop(then);
                state = self.lock();
                continue;
            }
            state.idle += 1;
            let waited = self.added.wait_timeout(state, IDLE);
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

/// A job's pipe. Drop passes it to a [`Closer`]: the last close takes its lock, and a holder blocks it uninterruptibly.
#[derive(Debug)]
pub struct ForeignPipe {
    fd: ManuallyDrop<OwnedFd>,
    closer: Closer,
}

impl ForeignPipe {
    pub fn new(fd: OwnedFd, closer: &Closer) -> Self {
        Self {
            fd: ManuallyDrop::new(fd),
            closer: closer.clone(),
        }
    }
}

impl AsFd for ForeignPipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for ForeignPipe {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Drop for ForeignPipe {
    fn drop(&mut self) {
        self.closer.close(sys::take(&mut self.fd), ());
    }
}

/// Closes descriptors that arrive on `from`, a blocking SOCK_SEQPACKET socket, until the other end is closed. The
/// process must do nothing else. The sender kills it if it takes no more. Returns errors of recvmsg(2).
pub fn sink(from: &OwnedFd) -> Result<(), Errno> {
    let closer = Closer::with(SINK_THREADS);
    let mut control = nix::cmsg_space!([RawFd; SCM_MAX_FD]);
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
                held.extend(raw.into_iter().map(sys::own));
            }
        }
        if byte == [CLOSE] {
            held.drain(..).for_each(|fd| closer.close(fd, ()));
        }
    }
}

/// Takes over descriptor 3 as the socket of [`sink`]. Fails if it is not a socket or was taken before.
pub fn sink_socket() -> std::io::Result<OwnedFd> {
    sys::inherited()
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
