//! Targets that only system calls can create or inspect.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::raw::{path, sys, zeroed};

/// Kinds of System V objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A shared memory segment.
    Segment,
    /// A set of one semaphore.
    Semaphore,
    /// A message queue.
    Queue,
}

/// A System V object with an owner and mode 0666.
#[derive(Debug)]
pub struct Object {
    kind: Kind,
    id: usize,
}

impl Object {
    /// Returns the kind that an attack targets, by the start of its name.
    #[must_use]
    pub fn kind(attack: &str) -> Kind {
        match attack.get(..3) {
            Some("shm") => Kind::Segment,
            Some("sem") => Kind::Semaphore,
            Some(_) | None => Kind::Queue,
        }
    }

    /// Finds the object with this key.
    #[must_use]
    pub fn find(kind: Kind, key: i32) -> Option<Self> {
        let id = match kind {
            Kind::Segment => sys!(libc::SYS_shmget, key, 0, 0),
            Kind::Semaphore => sys!(libc::SYS_semget, key, 0, 0),
            Kind::Queue => sys!(libc::SYS_msgget, key, 0),
        };
        id.ok().map(|id| Self { kind, id })
    }

    /// Creates an object.
    #[must_use]
    pub fn make(kind: Kind, owner: u32) -> Self {
        const MAKE: i32 = libc::IPC_CREAT | 0o666;
        let id = match kind {
            Kind::Segment => sys!(libc::SYS_shmget, libc::IPC_PRIVATE, 4096, MAKE),
            Kind::Semaphore => sys!(libc::SYS_semget, libc::IPC_PRIVATE, 1, MAKE),
            Kind::Queue => sys!(libc::SYS_msgget, libc::IPC_PRIVATE, MAKE),
        };
        let object = Self {
            kind,
            id: id.expect("root may make objects"),
        };
        // The structure begins with the permissions: key, uid, gid, creator's ids, mode.
        let mut state = object.describe();
        let words: &mut [u32] = &mut state;
        words[1] = owner;
        object
            .control(libc::IPC_SET, state.as_mut_ptr())
            .expect("root may give objects away");
        object
    }

    /// Returns the kernel's id.
    #[must_use]
    pub fn id(&self) -> usize {
        self.id
    }

    fn control(&self, command: i32, state: *mut u32) -> Result<usize, super::Refused> {
        match self.kind {
            Kind::Segment => sys!(libc::SYS_shmctl, self.id, command, state),
            Kind::Semaphore => sys!(libc::SYS_semctl, self.id, 0, command, state),
            Kind::Queue => sys!(libc::SYS_msgctl, self.id, command, state),
        }
    }

    fn describe(&self) -> Vec<u32> {
        let mut state = vec![0; 64];
        match self.control(libc::IPC_STAT, state.as_mut_ptr()) {
            Ok(_) => state,
            Err(_) => Vec::new(),
        }
    }

    /// Returns the kernel's data and the value. Any use changes it. Empty if the object is gone.
    #[must_use]
    pub fn state(&self) -> Vec<u32> {
        let mut state = self.describe();
        if self.kind == Kind::Semaphore {
            const GETVAL: i32 = 12;
            let value = sys!(libc::SYS_semctl, self.id, 0, GETVAL).unwrap_or(usize::MAX);
            state.push(value as u32);
        }
        state
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        let _ = self.control(libc::IPC_RMID, std::ptr::null_mut());
    }
}

/// POSIX message queues.
#[derive(Debug)]
pub struct Queue;

impl Queue {
    /// Creates a queue owned by `owner`.
    pub fn make(name: &str, owner: u32) {
        let mut sizes: libc::mq_attr = zeroed();
        (sizes.mq_maxmsg, sizes.mq_msgsize) = (1, 8);
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR;
        let queue = sys!(
            libc::SYS_mq_open,
            path(name).as_ptr(),
            flags,
            0o600,
            &raw const sizes
        );
        let queue = queue.expect("root may make queues");
        sys!(libc::SYS_fchown, queue, owner, -1).expect("root may give queues away");
        let _ = sys!(libc::SYS_close, queue);
    }

    /// Removes a queue. Returns true if it existed.
    #[must_use]
    pub fn remove(name: &str) -> bool {
        sys!(libc::SYS_mq_unlink, path(name).as_ptr()).is_ok()
    }
}

/// Creates a world-writable node of the null device.
pub fn null_device(node_path: &Path) {
    let name = path(&node_path.display().to_string());
    let device = libc::makedev(1, 3);
    sys!(
        libc::SYS_mknodat,
        libc::AT_FDCWD,
        name.as_ptr(),
        libc::S_IFCHR | 0o666,
        device
    )
    .expect("root may make nodes");
    sys!(libc::SYS_fchmodat, libc::AT_FDCWD, name.as_ptr(), 0o666).expect("the node is ours");
}

/// Opens a new pseudoterminal. Returns its non-blocking master, and the path of its slave.
#[allow(unsafe_code)]
#[must_use]
pub fn pseudoterminal() -> (File, String) {
    use std::os::fd::AsRawFd;
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK);
    let master = options
        .open("/dev/ptmx")
        .expect("there are pseudoterminals");
    let (unlocked, mut number) = (0_i32, 0_u32);
    sys!(
        libc::SYS_ioctl,
        master.as_raw_fd(),
        libc::TIOCSPTLCK,
        &raw const unlocked
    )
    .expect("the terminal is ours");
    sys!(
        libc::SYS_ioctl,
        master.as_raw_fd(),
        libc::TIOCGPTN,
        &raw mut number
    )
    .expect("the terminal is ours");
    let slave = sys!(
        libc::SYS_ioctl,
        master.as_raw_fd(),
        libc::TIOCGPTPEER,
        libc::O_RDWR | libc::O_NOCTTY
    );
    // The slave stays open for the life of this process: a slave that no process has open discards its output.
    // SAFETY: the kernel just created this descriptor and nothing else owns it.
    let slave = unsafe { File::from_raw_fd(slave.expect("the terminal is ours") as i32) };
    std::mem::forget(slave);
    (master, format!("/dev/pts/{number}"))
}

/// Returns the IO priority of a process.
#[must_use]
pub fn io_priority(pid: i32) -> usize {
    const IOPRIO_PROCESS: i32 = 1;
    sys!(libc::SYS_ioprio_get, IOPRIO_PROCESS, pid).unwrap_or(usize::MAX)
}

/// A thread that waits on a futex in a shared file, as for a lock.
#[derive(Debug)]
pub struct Waiter {
    word: usize,
}

impl Waiter {
    const WAIT: i32 = 0;
    const WAKE: i32 = 1;
    const REQUEUE: i32 = 3;

    /// Maps the first page of a file read-only. Fails as mmap(2).
    pub fn map(file: &File) -> Result<usize, super::Refused> {
        let (shared, fd) = (libc::MAP_SHARED, file.as_raw_fd());
        sys!(libc::SYS_mmap, 0, 4096, libc::PROT_READ, shared, fd, 0)
    }

    /// Waits at the first word of a file, which must be 0, for at most 2 min.
    #[must_use]
    pub fn start(file: &File) -> Self {
        let word = Self::map(file).expect("the file is ours");
        std::thread::spawn(move || {
            let most = libc::timespec {
                tv_sec: 120,
                tv_nsec: 0,
            };
            sys!(libc::SYS_futex, word, Self::WAIT, 0, &raw const most)
        });
        // A requeue to where it waits changes nothing, and counts it.
        while sys!(libc::SYS_futex, word, Self::REQUEUE, 0, 1, word) != Ok(1) {
            std::thread::yield_now();
        }
        Self { word }
    }

    /// Wakes it. Returns false if it was moved elsewhere.
    #[must_use]
    pub fn is_woken(self) -> bool {
        sys!(libc::SYS_futex, self.word, Self::WAKE, i32::MAX) == Ok(1)
    }
}

/// Returns the write hint of a file, 0 for none.
#[must_use]
pub fn write_hint(path: &str) -> u64 {
    const GET_RW_HINT: i32 = 1035;
    let mut hint = 0_u64;
    let file = File::open(path).expect("the file is ours");
    let asked = sys!(
        libc::SYS_fcntl,
        file.as_raw_fd(),
        GET_RW_HINT,
        &raw mut hint
    );
    asked.map_or(0, |_| hint)
}

/// Returns the capacity of a pipe or FIFO in bytes.
#[must_use]
pub fn pipe_size(pipe: &File) -> usize {
    let size = sys!(libc::SYS_fcntl, pipe.as_raw_fd(), libc::F_GETPIPE_SZ);
    size.expect("it is a pipe")
}

/// Returns true if another process holds a record lock.
#[must_use]
pub fn is_record_locked(fd: i32) -> bool {
    let mut whole: libc::flock = zeroed();
    whole.l_type = libc::F_WRLCK as i16;
    sys!(libc::SYS_fcntl, fd, libc::F_SETLK, &raw const whole).is_err()
}
