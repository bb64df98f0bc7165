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
use remit_link::closer::CLOSE;
use remit_link::sys::{self, SCM_MAX_FD};

/// Threads that may hang at the same time. Callers bound their hanging closes below this number.
const THREADS: usize = 1024;
/// Threads of the warden's closing process. If all hang, it takes no more, and the warden kills it with them.
const SINK_THREADS: usize = 128;
/// How long a descriptor waits to be closed with others: the wake-up of a thread costs more than many closes.
const SOON: Duration = Duration::from_millis(10);
/// Time for the threads of a watched closer: the end of a mount namespace takes a grace period of RCU, one after another.
/// Then a thread may hang, and another one goes on.
const SLOW: Duration = Duration::from_millis(100);
/// Descriptors that are closed together, at most.
const BATCH: usize = 64;
const IDLE: Duration = Duration::from_secs(2);
const STACK: usize = 64 << 10;

#[derive(Clone, Debug)]
pub struct Closer {
    shared: Arc<Shared>,
}

impl Default for Closer {
    fn default() -> Self {
        Self::with(THREADS, false)
    }
}

/// Each has its own condition: a wake-up of threads that find nothing to do costs more than a close.
#[derive(Debug)]
struct Shared {
    most: usize,
    /// Somebody is in [`Closer::until_taken`], so a thread that hangs is noticed.
    is_watched: bool,
    state: Mutex<State>,
    /// One descriptor more is there: wakes one thread.
    added: Condvar,
    /// All of them were taken.
    taken: Condvar,
    /// The batch has [`BATCH`] descriptors: wakes its collector.
    full: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Work>,
    /// Goes to `waiting` as a whole.
    batch: Vec<Work>,
    collector: Collector,
    idle: usize,
    threads: usize,
    /// A thread was woken or spawned, and has not looked yet.
    is_called: bool,
}

/// The thread that lets the batch grow. It does not count as idle.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Collector {
    #[default]
    Absent,
    Wanted,
    Present,
}

type Work = (OwnedFd, Box<dyn Send>);

impl State {
    /// Returns how many threads have something to do.
    fn wanted(&self) -> usize {
        self.waiting.len() + usize::from(self.collector == Collector::Wanted)
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} threads, {} idle", self.threads, self.idle)
    }
}

impl Closer {
    fn with(most: usize, is_watched: bool) -> Self {
        let [added, taken, full] = [const { Condvar::new() }; 3];
        let shared = Arc::new(Shared {
            most,
            is_watched,
            state: Mutex::default(),
            added,
            taken,
            full,
        });
        Self { shared }
    }

    /// Closes `fd` on another thread, then drops `then`. Never blocks.
    pub fn close(&self, fd: OwnedFd, then: impl Send + 'static) {
        let mut state = self.shared.lock();
        state.waiting.push_back((fd, Box::new(then)));
        // If no thread can be spawned now, the next call spawns one, which closes this descriptor too.
        let wakes = state.wanted() <= state.idle || !self.shared.spawn(&mut state);
        drop(state);
        if wakes {
            self.shared.added.notify_one();
        }
    }

    /// Does the same some milliseconds later, with other descriptors.
    pub fn close_soon(&self, fd: OwnedFd, then: impl Send + 'static) {
        let mut state = self.shared.lock();
        state.batch.push((fd, Box::new(then)));
        let is_full = state.batch.len() == BATCH;
        if state.collector == Collector::Present {
            drop(state);
            if is_full {
                self.shared.full.notify_one();
            }
        } else {
            state.collector = Collector::Wanted;
            self.shared.call_another(state);
        }
    }

    /// Closes all of them as [`Closer::close`], without a wake-up for each.
    fn close_all(&self, fds: impl Iterator<Item = OwnedFd>) {
        let mut state = self.shared.lock();
        let works = fds.map(|fd| -> Work { (fd, Box::new(())) });
        state.waiting.extend(works);
        self.shared.call_another(state);
    }

    fn until_taken(&self) {
        let mut state = self.shared.lock();
        while !state.waiting.is_empty() {
            let taken = self.shared.taken.wait_timeout(state, SLOW);
            let (woken, timed_out) = taken.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            if timed_out.timed_out() && !state.waiting.is_empty() {
                self.shared.call_another(state);
                state = self.shared.lock();
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(self: &Arc<Self>, state: &mut State) -> bool {
        if state.threads >= self.most {
            return false;
        }
        let shared = Arc::clone(self);
        let thread = thread::Builder::new().stack_size(STACK);
        let is_spawned = thread.spawn(move || shared.work()).is_ok();
        state.threads += usize::from(is_spawned);
        is_spawned
    }

    /// Has another thread look, unless one is about to: a close of this one may hang.
    fn call_another(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if state.is_called {
            return;
        }
        let is_one_idle = state.idle > 0;
        state.is_called = is_one_idle || self.spawn(&mut state);
        drop(state);
        if is_one_idle {
            self.added.notify_one();
        }
    }

    fn work(self: &Arc<Self>) {
        let mut state = self.lock();
        state.is_called = false;
        loop {
            if let Some((fd, then)) = state.waiting.pop_front() {
                if state.waiting.is_empty() {
                    self.taken.notify_all();
                }
                // An idle thread looks by itself after its time, so it is not woken for each batch.
                match state.wanted() > 0 && state.idle == 0 && !self.is_watched {
                    true => self.call_another(state),
                    false => drop(state),
                }
                drop(fd);
                drop(then);
                state = self.lock();
                continue;
            }
            if state.collector == Collector::Wanted {
                state = self.keep(state);
                continue;
            }
            state.idle += 1;
            let waited = self.added.wait_timeout(state, IDLE);
            let (woken, timed_out) = waited.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            state.is_called = false;
            if timed_out.timed_out() && state.wanted() == 0 {
                state.threads -= 1;
                return;
            }
        }
    }

    /// Lets the batch grow, then passes it on.
    fn keep<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.collector = Collector::Present;
        let grows = |state: &mut State| state.batch.len() < BATCH;
        let waited = self.full.wait_timeout_while(state, SOON, grows);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.collector = Collector::Absent;
        let batch = std::mem::take(&mut state.batch);
        state.waiting.extend(batch);
        state
    }
}

/// A job's pipe. Drop passes it to a [`Closer`]: the last close takes its lock, and a holder blocks it uninterruptibly.
/// Nobody waits for this close, so it is not worth a wake-up of its own.
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
        self.closer.close_soon(sys::take(&mut self.fd), ());
    }
}

/// Closes descriptors that arrive on `from`, a blocking SOCK_SEQPACKET socket, until the other end is closed. The
/// process must do nothing else. The sender kills it if it takes no more. Returns errors of recvmsg(2).
pub fn sink(from: &OwnedFd) -> Result<(), Errno> {
    let closer = Closer::with(SINK_THREADS, true);
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
            closer.close_all(held.drain(..));
        }
    }
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

    #[test]
    fn batch_is_closed_by_time_or_when_full_and_again() {
        for count in [1, BATCH - 1, 3 * BATCH, 1] {
            let closer = Closer::default();
            for _ in 0..2 {
                let (done, is_done) = mpsc::channel::<()>();
                let mut readers = Vec::new();
                for _ in 0..count {
                    let (reader, writer) = std::io::pipe().unwrap();
                    closer.close_soon(writer.into(), done.clone());
                    readers.push(reader);
                }
                drop(done);
                assert_eq!(is_done.recv(), Err(mpsc::RecvError));
                for mut reader in readers {
                    assert_eq!(std::io::Read::read(&mut reader, &mut [0]).unwrap(), 0);
                }
            }
            // One keeps the batch, and another one is there if that hangs. A pipe has no thread of its own.
            assert!(closer.shared.lock().threads < BATCH);
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

    #[test]
    fn one_that_hangs_in_a_batch_keeps_no_other_waiting() {
        let closer = Closer::default();
        let pipe = || std::io::pipe().unwrap().0.into();
        let (done, is_done) = mpsc::channel::<()>();
        let mut held = Vec::new();
        for _ in 0..20 {
            let (release, released) = mpsc::channel();
            closer.close_soon(pipe(), Hangs(released));
            closer.close_soon(pipe(), done.clone());
            held.push(release);
        }
        drop(done);
        assert_eq!(is_done.recv(), Err(mpsc::RecvError));
        let (done, is_done) = mpsc::channel::<()>();
        closer.close_soon(pipe(), done);
        assert_eq!(is_done.recv(), Err(mpsc::RecvError));
        drop(held);
    }
}
