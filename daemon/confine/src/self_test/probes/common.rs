//! An attempt of the self-test, its stage and its answer; and attempts for every sandbox, as far as layers are on.

use crate::spec::compiled::Base;
use crate::{Layer, Sandbox, sys};
use libc::c_long;
use remit_spawn::ResourceLimit;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd};

fn is_read(sandbox: &Sandbox) -> bool {
    matches!(sandbox.base, Base::Read(_))
}

/// In a view much is allowed: what is written goes to the view alone.
fn is_no_view(sandbox: &Sandbox) -> bool {
    !matches!(sandbox.base, Base::View(_))
}

pub(super) static COMMON: &[Attempt] = &[
    state(Layer::Identity, "own ids and groups", |s| {
        let mut groups = [0; 64];
        let n = sys::groups(&mut groups).unwrap_or(usize::MAX);
        holds(
            sys::is_user(s.uid, s.gid)
                && groups.get(..n) == Some(s.sandbox.credentials.groups.as_slice()),
        )
    })
    .when(is_no_view),
    state(
        Layer::Capabilities,
        "five sets as the profile has them, mostly empty, securebits locked",
        |s| {
            let exactly = sys::has_exactly(s.sandbox.credentials.capabilities).unwrap_or(false);
            holds(exactly && sys::securebits_locked())
        },
    )
    .when(is_no_view),
    state(Layer::NoNewPrivs, "no_new_privs", |_| {
        holds(sys::has_no_new_privs())
    }),
    Attempt {
        layer: Layer::Identity,
        what: "see and set the limits of process 1, which is root's",
        held: libc::EPERM,
        control: None, // Without the other layers the same uid is refused, too.
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
    })
    .when(is_no_view),
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
    )
    .when(is_no_view),
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

pub(crate) struct Stage<'a> {
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) limits: &'a [ResourceLimit],
    pub(crate) writable: &'a [CString],
    pub(crate) devices: &'a [CString],
    pub(crate) executable: &'a [CString],
    /// A process of the same uid, outside the layers.
    pub(crate) bystander: i32,
    pub(crate) outside: Outside,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Outside {
    pub(crate) tmp: u64,
    pub(crate) root: u64,
    pub(crate) namespaces: [u64; 6],
    /// Of the file system at [`SERVICES`]; known when the stage is set.
    pub(crate) services: u64,
}

pub(crate) const NAMESPACES: [&CStr; 6] = [
    c"/proc/self/ns/pid",
    c"/proc/self/ns/net",
    c"/proc/self/ns/ipc",
    c"/proc/self/ns/uts",
    c"/proc/self/ns/cgroup",
    c"/proc/self/ns/user",
];

pub(super) fn own_namespace(stage: &Stage<'_>, which: usize) -> i32 {
    let (Some(path), Some(outside)) = (NAMESPACES.get(which), stage.outside.namespaces.get(which))
    else {
        return 0;
    };
    holds(sys::stat(path).is_ok_and(|own| own.st_ino != *outside))
}

/// Files of the stage: a tmpfs over `/sys` in the self-test's own namespace, open to all.
pub(crate) const STAGE: &CStr = c"/sys";
pub(crate) const FILE: &CStr = c"/sys/file";
pub(crate) const FIFO: &CStr = c"/sys/fifo";
pub(crate) const DEVICE: &CStr = c"/sys/zero";
pub(crate) const PROGRAM: &CStr = c"/sys/program";
/// Of a view: a tmpfs with a file that only root can read, a file that all can write, a FIFO that is read, a directory that
/// only root can enter, and a name in it.
pub(crate) const SERVICES: &CStr = c"/var/lib";
pub(crate) const SECRET: &CStr = c"/var/lib/secret";
pub(crate) const OPEN: &CStr = c"/var/lib/open";
pub(crate) const PIPE: &CStr = c"/var/lib/fifo";
pub(crate) const PRIVATE: &CStr = c"/var/lib/private";
pub(crate) const NAME: &CStr = c"/var/lib/private/name";

#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) layer: Layer,
    pub(crate) what: &'static str,
    pub(crate) held: i32,
    /// The answer without the layers, if there is one.
    pub(crate) control: Option<i32>,
    pub(crate) run: fn(&Stage<'_>) -> i32,
    pub(super) fits: fn(&Sandbox) -> bool,
}

impl Attempt {
    pub(super) const fn when(self, fits: fn(&Sandbox) -> bool) -> Attempt {
        Attempt { fits, ..self }
    }
}

pub(super) fn always(_: &Sandbox) -> bool {
    true
}

pub(super) const HOLDS: i32 = 255;

pub(super) fn holds(yes: bool) -> i32 {
    if yes { HOLDS } else { 0 }
}

pub(super) fn errno<T>(tried: std::io::Result<T>) -> i32 {
    tried.map_or_else(|e| e.raw_os_error().unwrap_or(HOLDS), |_| 0)
}

pub(super) fn call(number: c_long, args: [c_long; 4]) -> i32 {
    (-sys::attempt(number, args)).max(0)
}

pub(super) const fn state(layer: Layer, what: &'static str, run: fn(&Stage<'_>) -> i32) -> Attempt {
    Attempt {
        layer,
        what,
        held: HOLDS,
        control: None,
        run,
        fits: always,
    }
}

pub(super) const fn refusal(
    layer: Layer,
    what: &'static str,
    held: i32,
    control: i32,
    run: fn(&Stage<'_>) -> i32,
) -> Attempt {
    Attempt {
        layer,
        what,
        held,
        control: Some(control),
        run,
        fits: always,
    }
}

/// Checks that every mount but those on `except` has `option`. proc_pid_mountinfo(5): the fifth field is the mount
/// point, the sixth the options. Reads the first 256 KiB: all mounts got their flags from one call.
pub(super) fn each_mount(option: &[u8], except: &[CString]) -> i32 {
    let mut text = [0u8; 256 << 10];
    let Ok(file) = sys::open(c"/proc/self/mountinfo", libc::O_RDONLY) else {
        return 0;
    };
    let mut len = 0;
    while let Some(rest) = text.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match sys::read(file.as_fd(), rest) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(_) => return 0,
        }
    }
    let text = text.get(..len).unwrap_or_default();
    let end = text.iter().rposition(|b| *b == b'\n').unwrap_or(0);
    let lines = text.get(..end).unwrap_or_default().split(|b| *b == b'\n');
    let all = lines.into_iter().all(|line| {
        let mut fields = line.split(|b| *b == b' ').skip(4);
        let (Some(mount_point), Some(options)) = (fields.next(), fields.next()) else {
            return false;
        };
        let excepted = except.iter().any(|path| path.to_bytes() == mount_point);
        excepted || options.split(|b| *b == b',').any(|o| o == option)
    });
    holds(all)
}
