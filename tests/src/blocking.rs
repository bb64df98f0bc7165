//! What blocks a process that is not careful: a pipe whose lock another process holds, so any read, write or last close
//! of an end waits; a descriptor whose last close blocks for an hour, as a hostile client may send it; and a user's file
//! system (fuse(4)): a directory with one file that its server reports as owned by root.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
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
        let (says, said) = channel();
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

const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const STATFS: u32 = 17;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const BATCH_FORGET: u32 = 42;

const ROOT: u64 = 1;
const FILE: u64 = 2;

/// Mounted until it is dropped. A thread serves it.
#[derive(Debug)]
pub struct Fuse {
    at: PathBuf,
    hangs: Option<Hanging>,
}

/// The server says that a close hangs, and answers it once the other end is dropped.
#[derive(Debug)]
struct Hanging {
    said: Receiver<()>,
    _let_go: Sender<()>,
}

type AtFlush = Option<(Sender<()>, Receiver<()>)>;

impl Fuse {
    /// Mounts it on a directory, as fusermount(1) does for `uid`. The file's name is `file`.
    pub fn mount(on: &Path, uid: u32, content: &'static str) -> Self {
        Self::with(on, uid, content, None)
    }

    /// Does the same with a file whose close(2) hangs until this is dropped.
    pub fn that_hangs_on_close(on: &Path, uid: u32, content: &'static str) -> Self {
        let (says, said) = channel();
        let (let_go, is_let_go) = channel();
        let mut fuse = Self::with(on, uid, content, Some((says, is_let_go)));
        let _let_go = let_go;
        fuse.hangs = Some(Hanging { said, _let_go });
        fuse
    }

    fn with(on: &Path, uid: u32, content: &'static str, at_flush: AtFlush) -> Self {
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse");
        let device = device.expect("the kernel has FUSE");
        let options = format!(
            "fd={},rootmode=40755,user_id={uid},group_id={uid},allow_other",
            device.as_raw_fd()
        );
        let options = CString::new(options).expect("no NUL");
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(
            Some("own"),
            on,
            Some("fuse"),
            flags,
            Some(options.as_c_str()),
        )
        .expect("a mount");
        thread::spawn(move || serve(device, content.as_bytes(), at_flush));
        let at = on.to_owned();
        Self { at, hangs: None }
    }

    /// Waits until a close hangs. Panics after a minute.
    pub fn until_it_hangs(&self) {
        let hanging = self.hangs.as_ref().expect("it hangs on close");
        let said = hanging.said.recv_timeout(Duration::from_secs(60));
        said.expect("a close hangs");
    }

    /// Returns the path of its file.
    pub fn file(&self) -> PathBuf {
        self.at.join("file")
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        let _ = umount2(&self.at, MntFlags::MNT_DETACH);
    }
}

fn serve(mut device: File, content: &[u8], at_flush: AtFlush) {
    let mut request = vec![0; 256 << 10];
    while let Ok(length) = device.read(&mut request) {
        let request = request.get(..length).unwrap_or_default();
        let (opcode, unique, node) = (word(request, 4), long(request, 8), long(request, 16));
        let body = request.get(40..).unwrap_or_default();
        let answer = match opcode {
            FORGET | BATCH_FORGET => continue,
            INIT => Ok(init()),
            LOOKUP if node == ROOT && body.starts_with(b"file\0") => Ok(entry(content.len())),
            LOOKUP => Err(libc::ENOENT),
            GETATTR => Ok([&[0; 16][..], &attributes(node, content.len())].concat()),
            OPEN => Ok(vec![0; 16]),
            READ => {
                let from = usize::try_from(long(body, 8)).unwrap_or(usize::MAX);
                Ok(content.get(from..).unwrap_or_default().to_vec())
            }
            STATFS => Ok(vec![0; 80]),
            RELEASE => Ok(Vec::new()),
            FLUSH if let Some((says, let_go)) = &at_flush => {
                let _ = says.send(());
                let _ = let_go.recv();
                Ok(Vec::new())
            }
            _ => Err(libc::ENOSYS),
        };
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(errno) => (-errno, Vec::new()),
        };
        let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
        let head = [
            &length.to_ne_bytes()[..],
            &error.to_ne_bytes(),
            &unique.to_ne_bytes(),
        ];
        if device.write_all(&[head.concat(), body].concat()).is_err() {
            return;
        }
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok());
    u32::from_ne_bytes(bytes.unwrap_or_default())
}

fn long(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes
        .get(at..at + 8)
        .and_then(|bytes| bytes.try_into().ok());
    u64::from_ne_bytes(bytes.unwrap_or_default())
}

fn words(all: &[u32]) -> Vec<u8> {
    all.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn longs(all: &[u64]) -> Vec<u8> {
    all.iter().flat_map(|long| long.to_ne_bytes()).collect()
}

/// `struct fuse_init_out` of version 7.31: no flags, pages of 4 KiB.
fn init() -> Vec<u8> {
    let mut all = words(&[7, 31, 0, 0, 0, 4096, 1, 0]);
    all.resize(64, 0);
    all
}

/// `struct fuse_attr`: owned by root, world-readable.
fn attributes(node: u64, size: usize) -> Vec<u8> {
    let (mode, size) = match node {
        ROOT => (0o040_755, 0),
        _ => (0o100_644, size as u64),
    };
    let longs = longs(&[node, size, 1, 1, 1, 1]);
    [longs, words(&[0, 0, 0, mode, 1, 0, 0, 0, 4096, 0])].concat()
}

/// `struct fuse_entry_out`: nothing is cached.
fn entry(size: usize) -> Vec<u8> {
    [longs(&[FILE, 0, 0, 0, 0]), attributes(FILE, size)].concat()
}
