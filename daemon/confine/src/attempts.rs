//! What a witness tries: for each wall, something that the wall forbids.
//!
//! Each attempt runs in a process of its own that answers with an errno, 0 when it was allowed.
//! Where it can be, the same is tried before without the walls, by the same uid: so that an
//! attempt that would fail anyhow proves nothing.

use crate::floor;
use crate::limits::Row;
use crate::sandbox::Base;
use crate::{Sandbox, Wall};
use libc::c_long;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd};

/// What the attempts work on, made before the walls.
pub(crate) struct Stage<'a> {
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) limits: &'a [Row],
    /// Where mounts may be written, devices used, files executed: as mountinfo has them.
    pub(crate) writable: &'a [CString],
    pub(crate) devices: &'a [CString],
    pub(crate) executable: &'a [CString],
    /// A process of the same uid in the same pid namespace, outside the walls.
    pub(crate) bystander: i32,
    pub(crate) outside: Outside,
}

/// What things outside are known by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outside {
    /// The device of `/tmp`, and of `/`.
    pub(crate) tmp: u64,
    pub(crate) root: u64,
    /// The inodes of the warden's namespaces, in the order of `NAMESPACES`.
    pub(crate) namespaces: [u64; 5],
    /// That of the jobs' pid namespace.
    pub(crate) jobs: u64,
}

/// Pid, network, ipc, uts and cgroup namespaces of whoever asks.
pub(crate) const NAMESPACES: [&CStr; 5] = [
    c"/proc/self/ns/pid",
    c"/proc/self/ns/net",
    c"/proc/self/ns/ipc",
    c"/proc/self/ns/uts",
    c"/proc/self/ns/cgroup",
];

/// Whether namespace `which` is another than the warden's.
fn own_namespace(stage: &Stage<'_>, which: usize) -> i32 {
    let (Some(path), Some(outside)) = (NAMESPACES.get(which), stage.outside.namespaces.get(which))
    else {
        return 0;
    };
    holds(floor::stat(path).is_ok_and(|own| own.st_ino != *outside))
}

/// Files of the stage: a tmpfs over `/sys` in the witness's own namespace, open to all.
pub(crate) const STAGE: &CStr = c"/sys";
pub(crate) const FILE: &CStr = c"/sys/file";
pub(crate) const FIFO: &CStr = c"/sys/fifo";
pub(crate) const DEVICE: &CStr = c"/sys/zero";
pub(crate) const PROGRAM: &CStr = c"/sys/program";

/// One attempt.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) wall: Wall,
    pub(crate) what: &'static str,
    /// The answer when the wall holds.
    pub(crate) held: i32,
    /// The answer without the walls, where there is one.
    pub(crate) control: Option<i32>,
    pub(crate) run: fn(&Stage<'_>) -> i32,
    /// In which sandboxes the wall is to be tried like this.
    fits: fn(&Sandbox) -> bool,
}

impl Attempt {
    const fn when(self, fits: fn(&Sandbox) -> bool) -> Attempt {
        Attempt { fits, ..self }
    }
}

fn always(_: &Sandbox) -> bool {
    true
}

fn is_strict(sandbox: &Sandbox) -> bool {
    matches!(sandbox.base, Base::Strict(_))
}

fn is_read(sandbox: &Sandbox) -> bool {
    matches!(sandbox.base, Base::Read(_))
}

/// The answer of an attempt that looks at a state and finds it as it must be.
const HOLDS: i32 = 255;

fn holds(yes: bool) -> i32 {
    if yes { HOLDS } else { 0 }
}

fn errno<T>(tried: std::io::Result<T>) -> i32 {
    tried.map_or_else(|e| e.raw_os_error().unwrap_or(HOLDS), |_| 0)
}

fn call(number: c_long, args: [c_long; 4]) -> i32 {
    (-floor::attempt(number, args)).max(0)
}

const fn state(wall: Wall, what: &'static str, run: fn(&Stage<'_>) -> i32) -> Attempt {
    Attempt {
        wall,
        what,
        held: HOLDS,
        control: None,
        run,
        fits: always,
    }
}

const fn refusal(
    wall: Wall,
    what: &'static str,
    held: i32,
    control: i32,
    run: fn(&Stage<'_>) -> i32,
) -> Attempt {
    Attempt {
        wall,
        what,
        held,
        control: Some(control),
        run,
        fits: always,
    }
}

/// All attempts. Those of a wall that this kernel cannot have are left out.
pub(crate) fn attempts(sandbox: &Sandbox) -> impl Iterator<Item = &'static Attempt> + '_ {
    let there = |attempt: &&Attempt| {
        attempt.wall.absent(&sandbox.kernel).is_none() && (attempt.fits)(sandbox)
    };
    ATTEMPTS.iter().filter(there)
}

static ATTEMPTS: &[Attempt] = &[
    state(Wall::Identity, "own ids and groups", |s| {
        let mut groups = [0; 64];
        let n = floor::groups(&mut groups).unwrap_or(usize::MAX);
        holds(
            floor::is_user(s.uid, s.gid)
                && groups.get(..n) == Some(s.sandbox.who.groups.as_slice()),
        )
    }),
    state(
        Wall::Capabilities,
        "five sets as the profile has them, mostly empty, securebits locked",
        |s| {
            let exactly = floor::has_exactly(s.sandbox.who.capabilities).unwrap_or(false);
            holds(exactly && floor::securebits_locked())
        },
    ),
    state(Wall::NoNewPrivs, "no_new_privs", |_| {
        holds(floor::has_no_new_privs())
    }),
    state(Wall::PidNamespace, "own pid namespace", |s| {
        own_namespace(s, 0)
    }),
    state(Wall::PidNamespace, "not even that of other jobs", |s| {
        holds(floor::stat(c"/proc/self/ns/pid").is_ok_and(|ns| ns.st_ino != s.outside.jobs))
    })
    .when(is_strict),
    refusal(
        Wall::ReadOnlyMounts,
        "open a file of mode 0666 for writing",
        libc::EROFS,
        0,
        |_| errno(floor::open(FILE, libc::O_WRONLY)),
    ),
    state(Wall::ReadOnlyMounts, "every mount is read-only", |s| {
        each_mount(b"ro", s.writable)
    }),
    state(Wall::NoSuid, "every mount is nosuid", |_| {
        each_mount(b"nosuid", &[])
    }),
    state(Wall::NoDev, "every mount is nodev", |s| {
        each_mount(b"nodev", s.devices)
    }),
    refusal(Wall::NoDev, "open a device node", libc::EACCES, 0, |_| {
        errno(floor::open(DEVICE, libc::O_RDONLY))
    }),
    state(Wall::PrivateTmp, "another /tmp than the host's", |s| {
        holds(floor::stat(c"/tmp").is_ok_and(|tmp| tmp.st_dev != s.outside.tmp))
    }),
    state(Wall::PrivateTmp, "/tmp can be written", |_| {
        let made = floor::make_dir(c"/tmp/witness", 0o700).is_ok();
        let here = floor::stat(c"/tmp").map(|tmp| tmp.st_dev);
        let root = floor::stat(c"/").map(|root| root.st_dev);
        holds(made && here.ok() != root.ok())
    })
    .when(is_strict),
    refusal(
        Wall::PrivateRoot,
        "another root than the host's",
        HOLDS,
        0,
        |s| holds(floor::stat(c"/").is_ok_and(|root| root.st_dev != s.outside.root)),
    )
    .when(is_strict),
    refusal(
        Wall::NoExec,
        "execute a file of mode 0755",
        libc::EACCES,
        0,
        |_| errno(floor::may_execute(PROGRAM)),
    )
    .when(is_strict),
    state(Wall::NoExec, "every mount is noexec", |s| {
        each_mount(b"noexec", s.executable)
    })
    .when(is_strict),
    refusal(
        Wall::NetworkNamespace,
        "a network of its own",
        HOLDS,
        0,
        |s| own_namespace(s, 1),
    )
    .when(|sandbox| matches!(&sandbox.base, Base::Strict(strict) if strict.net.is_some())),
    refusal(
        Wall::IpcNamespace,
        "an ipc namespace of its own",
        HOLDS,
        0,
        |s| own_namespace(s, 2),
    )
    .when(is_strict),
    refusal(
        Wall::UtsNamespace,
        "a uts namespace of its own",
        HOLDS,
        0,
        |s| own_namespace(s, 3),
    )
    .when(is_strict),
    refusal(
        Wall::CgroupNamespace,
        "a cgroup namespace of its own",
        HOLDS,
        0,
        |s| own_namespace(s, 4),
    )
    .when(is_strict),
    refusal(
        Wall::Landlock,
        "open a FIFO of mode 0666",
        libc::EACCES,
        0,
        |_| errno(floor::open(FIFO, libc::O_RDWR | libc::O_NONBLOCK)),
    ),
    refusal(
        Wall::LandlockScope,
        "signal a process of the same uid",
        libc::EPERM,
        0,
        |s| call(libc::SYS_kill, [s.bystander.into(), 0, 0, 0]),
    )
    .when(is_read),
    Attempt {
        wall: Wall::LandlockScope,
        what: "signal the sandbox's init, of the same uid",
        held: libc::EPERM,
        // There is none without the walls.
        control: None,
        run: |_| call(libc::SYS_kill, [1, 0, 0, 0]),
        fits: |sandbox| is_strict(sandbox) && sandbox.who.user.is_none(),
    },
    refusal(
        Wall::SeccompSockets,
        "make a packet socket",
        libc::EAFNOSUPPORT,
        libc::EPERM,
        |_| {
            let (family, kind) = (libc::AF_PACKET.into(), libc::SOCK_RAW.into());
            call(libc::SYS_socket, [family, kind, 0, 0])
        },
    ),
    refusal(
        Wall::SeccompSockets,
        "make a Unix socket",
        libc::EAFNOSUPPORT,
        0,
        |_| {
            call(
                libc::SYS_socket,
                [libc::AF_UNIX.into(), libc::SOCK_STREAM.into(), 0, 0],
            )
        },
    )
    .when(|sandbox| !sandbox.class.unix),
    Attempt {
        wall: Wall::SeccompSockets,
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
        Wall::SeccompSocketpair,
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
        Wall::SeccompIpc,
        "make a shared memory segment",
        libc::EPERM,
        0,
        |_| {
            let mode = c_long::from(libc::IPC_CREAT | 0o600);
            let id = floor::attempt(libc::SYS_shmget, [libc::IPC_PRIVATE.into(), 4096, mode, 0]);
            if id >= 0 {
                floor::attempt(libc::SYS_shmctl, [id.into(), libc::IPC_RMID.into(), 0, 0]);
            }
            (-id).max(0)
        },
    )
    .when(|sandbox| !sandbox.class.ipc),
    refusal(
        Wall::SeccompLocks,
        "lock a file that another has locked, which must seem to work",
        0,
        libc::EWOULDBLOCK,
        |_| {
            let Ok(file) = floor::open(FILE, libc::O_RDONLY) else {
                return HOLDS;
            };
            let lock = c_long::from(libc::LOCK_SH | libc::LOCK_NB);
            call(libc::SYS_flock, [file.as_raw_fd().into(), lock, 0, 0])
        },
    )
    .when(|sandbox| !sandbox.class.locks),
    refusal(Wall::SeccompRefused, "be traced", libc::EPERM, 0, |_| {
        call(libc::SYS_ptrace, [0; 4])
    }),
    Attempt {
        wall: Wall::SeccompUnknown,
        what: "call clone3",
        held: libc::ENOSYS,
        // Without the wall it faults on its null arguments; in some containers it is missing.
        control: None,
        run: |_| call(libc::SYS_clone3, [0; 4]),
        fits: always,
    },
    state(Wall::Descriptors, "no other descriptor is open", |_| {
        // 0, 1 and 2, and the pipe that carries this.
        holds(
            (4..4096)
                .all(|fd| call(libc::SYS_fcntl, [fd, libc::F_GETFD.into(), 0, 0]) == libc::EBADF),
        )
    }),
    state(Wall::Rlimits, "every limit as asked", |s| {
        holds(
            s.limits
                .iter()
                .all(|row| floor::limit(row.resource).is_ok_and(|l| l == (row.soft, row.hard))),
        )
    }),
    state(Wall::Scheduling, "oom_score_adj 1000", |_| {
        let mut text = [0; 8];
        let file = floor::open(c"/proc/self/oom_score_adj", libc::O_RDONLY);
        let n = file
            .and_then(|f| floor::read(f.as_fd(), &mut text))
            .unwrap_or(0);
        holds(text.get(..n) == Some(b"1000\n"))
    }),
];

/// Whether every mount but those on `except` has `option`. proc_pid_mountinfo(5): the fifth
/// field is the place, the sixth the options of the mount itself. Looks at the first 256 KiB:
/// all mounts got their flags from one call.
fn each_mount(option: &[u8], except: &[CString]) -> i32 {
    let mut text = [0u8; 256 << 10];
    let Ok(file) = floor::open(c"/proc/self/mountinfo", libc::O_RDONLY) else {
        return 0;
    };
    let mut len = 0;
    while let Some(rest) = text.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match floor::read(file.as_fd(), rest) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(_) => return 0,
        }
    }
    // Whole lines only.
    let text = text.get(..len).unwrap_or_default();
    let end = text.iter().rposition(|b| *b == b'\n').unwrap_or(0);
    let lines = text.get(..end).unwrap_or_default().split(|b| *b == b'\n');
    let all = lines.into_iter().all(|line| {
        let mut fields = line.split(|b| *b == b' ').skip(4);
        let (Some(place), Some(options)) = (fields.next(), fields.next()) else {
            return false;
        };
        let excepted = except.iter().any(|path| path.to_bytes() == place);
        excepted || options.split(|b| *b == b',').any(|o| o == option)
    });
    holds(all)
}
