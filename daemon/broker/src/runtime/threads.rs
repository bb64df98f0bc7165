//! Threads for blocking work. One lasts as long as the process. The others are tokio's: they help while it is busy and end
//! when they are idle.
//!
//! tokio panics if it has no thread and none can be created (clone(2), EAGAIN). It always has the lasting one, so work that
//! no helper can take stays in the queue until the lasting thread is free.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

type BlockingWork = Box<dyn FnOnce() + Send>;

/// Helpers in the queue of tokio, which grows while no thread can be created. The lasting thread then goes and runs them.
const HELPERS: usize = 64;

static QUEUE: BlockingQueue = BlockingQueue::new();

struct BlockingQueue {
    state: Mutex<BlockingState>,
    added: Condvar,
}

struct BlockingState {
    work: VecDeque<BlockingWork>,
    /// The lasting thread has nothing to do, and was not woken.
    is_idle: bool,
    /// Helpers that tokio has and that have not started.
    helpers: usize,
}

/// Starts the lasting thread. No other blocking work may be earlier.
pub fn keep_one(runtime: &Runtime) -> Result<(), String> {
    // tokio's first thread has no error to return.
    let tried = std::thread::Builder::new().spawn(|| ()).map_err(|error| {
        format!(
            "cannot start a thread: {error}; allow its user and its service more processes (RLIMIT_NPROC, pids.max)"
        )
    })?;
    let _ = tried.join();
    drop(runtime.spawn_blocking(|| QUEUE.serve()));
    Ok(())
}

/// Returns `None` if the process is ending.
pub async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, result) = oneshot::channel();
    start_blocking(move || drop(done.send(work())));
    result.await.ok()
}

/// Starts work with a result that is not wanted. Must be called in the runtime.
pub fn start_blocking(work: impl FnOnce() + Send + 'static) {
    if !QUEUE.add(Box::new(work)) {
        drop(spawn_blocking(|| QUEUE.help()));
    }
}

impl BlockingQueue {
    const fn new() -> Self {
        Self {
            state: Mutex::new(BlockingState {
                work: VecDeque::new(),
                is_idle: false,
                helpers: 0,
            }),
            added: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BlockingState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns true if the lasting thread takes it at once. Otherwise a helper has to.
    fn add(&self, work: BlockingWork) -> bool {
        let mut state = self.lock();
        state.work.push_back(work);
        let was_idle = std::mem::take(&mut state.is_idle);
        state.helpers += usize::from(!was_idle);
        drop(state);
        if was_idle {
            self.added.notify_one();
        }
        was_idle
    }

    fn next(&self) -> Option<BlockingWork> {
        self.lock().work.pop_front()
    }

    fn run_all(&self) {
        while let Some(work) = self.next() {
            work();
        }
    }

    fn help(&self) {
        self.lock().helpers -= 1;
        self.run_all();
    }

    fn serve(&'static self) {
        loop {
            self.run_all();
            let mut state = self.lock();
            if state.helpers >= HELPERS {
                drop(state);
                drop(spawn_blocking(move || self.serve()));
                return;
            }
            while state.work.is_empty() {
                state.is_idle = true;
                let woken = self.added.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
            }
            state.is_idle = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn work_beside_the_lasting_thread_is_for_a_helper() {
        let queue: &'static BlockingQueue = Box::leak(Box::new(BlockingQueue::new()));
        let (done, results) = mpsc::channel();
        let says = |number: u8| -> BlockingWork {
            let done = done.clone();
            Box::new(move || done.send(number).unwrap())
        };
        assert!(!queue.add(says(1)), "there is no lasting thread");
        thread::spawn(move || queue.serve());
        assert_eq!(results.recv(), Ok(1));
        while !queue.lock().is_idle {
            thread::yield_now();
        }
        let (go_on, held) = mpsc::channel::<()>();
        let says_late = says(2);
        let blocked = Box::new(move || {
            held.recv().unwrap();
            says_late();
        });
        assert!(queue.add(blocked), "it is idle");
        assert!(!queue.add(says(3)), "it is busy");
        // The lasting thread is the only one: if no helper can be created, it takes all.
        go_on.send(()).unwrap();
        assert_eq!([results.recv(), results.recv()], [Ok(2), Ok(3)]);
        // A helper takes what is left.
        while !queue.lock().is_idle {
            thread::yield_now();
        }
        let (go_on, held) = mpsc::channel::<()>();
        let (started, has_started) = mpsc::channel();
        let blocked = Box::new(move || {
            started.send(()).unwrap();
            held.recv().unwrap();
        });
        assert!(queue.add(blocked));
        has_started.recv().unwrap();
        assert!(!queue.add(says(4)));
        queue.help();
        assert_eq!(results.try_recv(), Ok(4));
        go_on.send(()).unwrap();
    }
}
