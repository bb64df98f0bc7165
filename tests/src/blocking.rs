//! What blocks a process that is not careful: a pipe whose lock another process holds, so any read, write or last close
//! of an end waits; and a descriptor whose last close blocks for an hour, as a hostile client may send it.

#![allow(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg, setsockopt, sockopt};

use crate::process::Identity;

/// Longer than any test waits. Then the lock is released, so a blocked daemon does not block forever.
const LONGEST: Duration = Duration::from_secs(180);

/// Opens a process's descriptor again for writing, as another process of its user does.
pub fn reopen(pid: i32, fd: i32, user: &Identity) -> io::Result<File> {
    let user = user.clone();
    let open = move || {
        user.adopt()?;
        let path = PathBuf::from(format!("/proc/{pid}/fd/{fd}"));
        OpenOptions::new().write(true).open(path)
    };
    thread::spawn(open).join().expect("the thread only opens")
}

/// A locked pipe: splice(2) from a silent socket waits with the pipe's lock held.
#[derive(Debug)]
pub struct LockedPipe {
    silent: Option<UnixStream>,
    let_go: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl LockedPipe {
    /// Takes the lock of this pipe's write end and keeps it. Panics after a minute without the lock.
    #[must_use]
    pub fn new(pipe: File) -> Self {
        let (near, silent) = UnixStream::pair().expect("a pair of sockets");
        near.set_read_timeout(Some(LONGEST)).expect("it is ours");
        let let_go = Arc::new(AtomicBool::new(false));
        let (says, said) = std::sync::mpsc::channel();
        let done = Arc::clone(&let_go);
        let thread = thread::spawn(move || {
            says.send(nix::unistd::gettid().as_raw())
                .expect("somebody listens");
            // SAFETY: both descriptors are open. Null pointers mean no offset.
            unsafe {
                libc::splice(
                    near.as_raw_fd(),
                    std::ptr::null_mut(),
                    pipe.as_raw_fd(),
                    std::ptr::null_mut(),
                    4096,
                    0,
                )
            };
            done.store(true, Ordering::SeqCst);
        });
        let tid = said.recv().expect("the thread says it");
        let start = Instant::now();
        while !is_in_splice(tid) {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "it is not locked"
            );
            thread::sleep(Duration::from_millis(1));
        }
        Self {
            silent: Some(silent),
            let_go,
            thread: Some(thread),
        }
    }

    /// Returns true if the lock was held all the time.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        !self.let_go.load(Ordering::SeqCst)
    }
}

impl Drop for LockedPipe {
    fn drop(&mut self) {
        self.silent = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Returns true if the thread waits for data in splice(2) (state S). A wait for the lock is not interruptible (D).
fn is_in_splice(tid: i32) -> bool {
    let read = |name: &str| {
        fs::read_to_string(format!("/proc/self/task/{tid}/{name}")).unwrap_or_default()
    };
    let stat = read("stat");
    let state = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .trim()
        .chars()
        .next();
    let call = read("syscall");
    let call = call
        .split_whitespace()
        .next()
        .and_then(|call| call.parse().ok());
    state == Some('S') && call == Some(libc::SYS_splice)
}

/// Longer than any test waits.
const AN_HOUR: i32 = 3600;

/// A TCP socket on loopback with unsent data, a peer that does not read, and SO_LINGER (socket(7)).
#[derive(Debug)]
pub struct Lingering {
    stuck: TcpStream,
    /// The peer that does not read.
    listener: TcpListener,
}

impl Lingering {
    /// Creates the sockets. SO_LINGER is not set yet.
    #[must_use]
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a loopback");
        let address = listener.local_addr().expect("it is bound");
        let stuck = TcpStream::connect(address).expect("it listens");
        stuck.set_nonblocking(true).expect("it is ours");
        while (&stuck).write(&[0; 65_536]).is_ok() {}
        Self { stuck, listener }
    }

    /// Sends the socket over a Unix socket with `bytes`, and closes our copy. Stop the receiver first: if it closes
    /// its copy earlier, our close blocks. The returned peer must stay open.
    pub fn send(
        self,
        over: BorrowedFd<'_>,
        bytes: &[u8],
        also: MsgFlags,
    ) -> nix::Result<TcpListener> {
        let raw = [self.stuck.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&raw)];
        let slices = [IoSlice::new(bytes)];
        let flags = MsgFlags::MSG_NOSIGNAL | also;
        sendmsg::<()>(over.as_raw_fd(), &slices, &rights, flags, None)?;
        // SO_LINGER is only set now, so a test that ends early does not block.
        Ok(self.into_parts().1)
    }

    /// Sets SO_LINGER and returns the socket with its peer.
    #[must_use]
    pub fn into_parts(self) -> (TcpStream, TcpListener) {
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: AN_HOUR,
        };
        setsockopt(&self.stuck, sockopt::Linger, &linger).expect("it is a socket");
        (self.stuck, self.listener)
    }

    /// Closes our copy after another process has sent it. The returned peer must stay open.
    #[must_use]
    pub fn into_listener(self) -> TcpListener {
        self.listener
    }
}

impl Default for Lingering {
    fn default() -> Self {
        Self::new()
    }
}
