//! Attempts for every sandbox, as far as its profile leaves the layer on.

use super::attempt::{Attempt, DEVICE, FIFO, FILE, HOLDS, always, call, each_mount, errno, holds};
use super::attempt::{refusal, state};
use crate::spec::compiled::Base;
use crate::{Layer, Sandbox, sys};
use libc::c_long;
use std::os::fd::{AsFd, AsRawFd};

fn is_read(sandbox: &Sandbox) -> bool {
    matches!(sandbox.base, Base::Read(_))
}

pub(super) static COMMON: &[Attempt] = &[
    state(Layer::Identity, "own ids and groups", |s| {
        let mut groups = [0; 64];
        let n = sys::groups(&mut groups).unwrap_or(usize::MAX);
        holds(
            sys::is_user(s.uid, s.gid)
                && groups.get(..n) == Some(s.sandbox.credentials.groups.as_slice()),
        )
    }),
    state(
        Layer::Capabilities,
        "five sets as the profile has them, mostly empty, securebits locked",
        |s| {
            let exactly = sys::has_exactly(s.sandbox.credentials.capabilities).unwrap_or(false);
            holds(exactly && sys::securebits_locked())
        },
    ),
    state(Layer::NoNewPrivs, "no_new_privs", |_| {
        holds(sys::has_no_new_privs())
    }),
    Attempt {
        layer: Layer::Identity,
        what: "see and set the limits of process 1, which is root's",
        held: libc::EPERM,
        // Without the other layers the same uid is refused, too.
        control: None,
        // prlimit(2) checks the right even if it has nothing to do.
        run: |_| call(libc::SYS_prlimit64, [1, libc::RLIMIT_NOFILE.into(), 0, 0]),
        fits: is_read,
    },
    refusal(
        Layer::ReadOnlyMounts,
        "open a file of mode 0666 for writing",
        libc::EROFS,
        0,
        |_| errno(sys::open(FILE, libc::O_WRONLY)),
    ),
    state(Layer::ReadOnlyMounts, "every mount is read-only", |s| {
        each_mount(b"ro", s.writable)
    }),
    state(Layer::NoSuid, "every mount is nosuid", |_| {
        each_mount(b"nosuid", &[])
    }),
    state(Layer::NoDev, "every mount is nodev", |s| {
        each_mount(b"nodev", s.devices)
    }),
    refusal(Layer::NoDev, "open a device node", libc::EACCES, 0, |_| {
        errno(sys::open(DEVICE, libc::O_RDONLY))
    }),
    state(Layer::PrivateTmp, "another /tmp than the host's", |s| {
        holds(sys::stat(c"/tmp").is_ok_and(|tmp| tmp.st_dev != s.outside.tmp))
    }),
    refusal(
        Layer::Landlock,
        "open a FIFO of mode 0666",
        libc::EACCES,
        0,
        |_| errno(sys::open(FIFO, libc::O_RDWR | libc::O_NONBLOCK)),
    ),
    refusal(
        Layer::LandlockScope,
        "signal a process of the same uid",
        libc::EPERM,
        0,
        |s| call(libc::SYS_kill, [s.bystander.into(), 0, 0, 0]),
    )
    .when(is_read),
    refusal(
        Layer::SeccompSockets,
        "make a packet socket",
        libc::EAFNOSUPPORT,
        libc::EPERM,
        |_| {
            let (family, kind) = (libc::AF_PACKET.into(), libc::SOCK_RAW.into());
            call(libc::SYS_socket, [family, kind, 0, 0])
        },
    ),
    refusal(
        Layer::SeccompSockets,
        "make a Unix datagram socket",
        libc::EAFNOSUPPORT,
        0,
        |_| {
            call(
                libc::SYS_socket,
                [libc::AF_UNIX.into(), libc::SOCK_DGRAM.into(), 0, 0],
            )
        },
    )
    .when(|sandbox| !sandbox.class.unix),
    refusal(
        Layer::SeccompSocketpair,
        "connect a Unix socket",
        libc::EPERM,
        libc::EBADF,
        |_| call(libc::SYS_connect, [-1, 0, 110, 0]),
    )
    .when(|sandbox| !sandbox.class.unix),
    Attempt {
        layer: Layer::SeccompSockets,
        what: "make a UDP socket",
        held: libc::EAFNOSUPPORT,
        control: None,
        run: |_| {
            call(
                libc::SYS_socket,
                [libc::AF_INET.into(), libc::SOCK_DGRAM.into(), 0, 0],
            )
        },
        fits: |sandbox| !sandbox.class.internet,
    },
    refusal(
        Layer::SeccompSocketpair,
        "make a datagram pair",
        libc::EPERM,
        libc::EFAULT,
        |_| {
            call(
                libc::SYS_socketpair,
                [libc::AF_UNIX.into(), libc::SOCK_DGRAM.into(), 0, 0],
            )
        },
    )
    .when(|sandbox| !sandbox.class.unix),
    refusal(
        Layer::SeccompIpc,
        "make a shared memory segment",
        libc::EPERM,
        0,
        |_| {
            let mode = c_long::from(libc::IPC_CREAT | 0o600);
            let id = sys::attempt(libc::SYS_shmget, [libc::IPC_PRIVATE.into(), 4096, mode, 0]);
            if id >= 0 {
                sys::attempt(libc::SYS_shmctl, [id.into(), libc::IPC_RMID.into(), 0, 0]);
            }
            (-id).max(0)
        },
    )
    .when(|sandbox| !sandbox.class.ipc),
    refusal(
        Layer::SeccompLocks,
        "lock a file that another has locked, which must appear to work",
        0,
        libc::EWOULDBLOCK,
        |_| {
            let Ok(file) = sys::open(FILE, libc::O_RDONLY) else {
                return HOLDS;
            };
            let lock = c_long::from(libc::LOCK_SH | libc::LOCK_NB);
            call(libc::SYS_flock, [file.as_raw_fd().into(), lock, 0, 0])
        },
    )
    .when(|sandbox| !sandbox.class.locks),
    refusal(Layer::SeccompRefused, "be traced", libc::EPERM, 0, |_| {
        call(libc::SYS_ptrace, [0; 4])
    }),
    refusal(
        Layer::SeccompRefused,
        "attach a filter to a socket",
        libc::EPERM,
        libc::EBADF,
        |_| {
            let (level, option) = (libc::SOL_SOCKET.into(), libc::SO_ATTACH_FILTER.into());
            call(libc::SYS_setsockopt, [-1, level, option, 0])
        },
    ),
    Attempt {
        layer: Layer::SeccompUnknown,
        what: "call clone3",
        held: libc::ENOSYS,
        // Without the layer it faults on its null arguments; in some containers it is missing.
        control: None,
        run: |_| call(libc::SYS_clone3, [0; 4]),
        fits: always,
    },
    state(Layer::Descriptors, "no other descriptor is open", |_| {
        // 0, 1 and 2, and the pipe that carries this.
        holds(
            (4..4096)
                .all(|fd| call(libc::SYS_fcntl, [fd, libc::F_GETFD.into(), 0, 0]) == libc::EBADF),
        )
    }),
    state(Layer::Rlimits, "every limit as asked", |s| {
        holds(
            s.limits
                .iter()
                .all(|row| sys::limit(row.resource).is_ok_and(|l| l == (row.soft, row.hard))),
        )
    }),
    state(Layer::Scheduling, "oom_score_adj 1000", |_| {
        let mut text = [0; 8];
        let file = sys::open(c"/proc/self/oom_score_adj", libc::O_RDONLY);
        let n = file
            .and_then(|f| sys::read(f.as_fd(), &mut text))
            .unwrap_or(0);
        holds(text.get(..n) == Some(b"1000\n"))
    }),
];
