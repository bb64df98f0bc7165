//! Attacks on resources that exist once per machine or user: memory for programs, caches, huge pages, buffers,
//! descriptors. A process that takes all stalls all others.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use super::REFUSED;
use super::raw::{self, path, sys};
use super::{Attack, Expect, Refused, Tried, argument, attack, files, number, passed_the_check};

const NOT_SUPPORTED: Expect = Expect::Errno(libc::EINVAL);
/// An attack reports this if the call succeeded without an effect.
const UNCHANGED: Expect = Expect::Errno(libc::EALREADY);

/// Attacks that a scene can prepare.
#[rustfmt::skip] // a table, one row a line
pub const ATTACKS: &[Attack] = &[
    attack("socket-filter", "seccomp_refused", REFUSED, "take memory for programs by a filter of a socket", socket_filter),
    attack("direct-read", "seccomp_locks", NOT_SUPPORTED, "have a file written out by a read past the cache", direct_read),
    attack("direct-later", "seccomp_locks", NOT_SUPPORTED, "the same with a flag set later", direct_later),
    attack("direct-openat2", "seccomp_locks", Expect::Errno(libc::ENOSYS), "the same by openat2, whose flags are in memory", direct_openat2),
    attack("page-out", "seccomp_locks", UNCHANGED, "drop what is cached of a file", page_out),
    attack("netlink-xfrm", "seccomp_sockets", Expect::Errno(libc::EAFNOSUPPORT), "open the netlink protocol that has the number of TCP", netlink_xfrm).optional(),
    attack("whiteout", "seccomp_refused", NOT_SUPPORTED, "leave a device node behind by a rename", whiteout).absent(&[libc::EINVAL]),
    attack("map-huge", "seccomp_refused", Expect::Errno(libc::ENOMEM), "map a huge page", map_huge).impossible("it would take huge pages of this machine"),
    attack("memfd-huge", "seccomp_refused", Expect::Errno(libc::ENOMEM), "make a memory file of huge pages", memfd_huge).impossible("it takes none before it is written"),
    attack("aio", "seccomp_refused", REFUSED, "take room for asynchronous io, which databases share", aio),
    attack("secret-memory", "seccomp_refused", REFUSED, "take memory that nothing can move", secret_memory).optional(),
    attack("shm-huge", "seccomp_ipc", REFUSED, "take huge pages for a System V segment", shm_huge).impossible("it would take huge pages of this machine"),
];

/// Returns a probe by name. Tests of shared resources use them besides attacks; each reports how far it got.
#[must_use]
pub fn probe(id: &str) -> Option<fn(&[String]) -> Tried> {
    let found: fn(&[String]) -> Tried = match id {
        "fill-filters" => fill_filters,
        "host-filter" => host_filter,
        "forks" => forks,
        "sessions" => sessions,
        "grow-memory" => grow_memory,
        "grow-file" => grow_file,
        "hold-tcp" => hold_tcp,
        "memory-program" => memory_program,
        "inotify-as" => inotify_as,
        "files-limit" => files_limit,
        "netlink-ports" => netlink_ports,
        "request" => files::request,
        "semaphores" => semaphores,
        _ => return None,
    };
    Some(found)
}

const PASS: libc::sock_filter = libc::sock_filter {
    code: (libc::BPF_RET | libc::BPF_K) as u16,
    jt: 0,
    jf: 0,
    k: 0xffff,
};

fn netlink(protocol: i32) -> Result<usize, Refused> {
    sys!(libc::SYS_socket, libc::AF_NETLINK, libc::SOCK_RAW, protocol)
}

fn attach(socket: usize, code: &mut [libc::sock_filter]) -> Result<usize, Refused> {
    let program = libc::sock_fprog {
        len: code.len() as u16,
        filter: code.as_mut_ptr(),
    };
    sys!(
        libc::SYS_setsockopt,
        socket,
        libc::SOL_SOCKET,
        libc::SO_ATTACH_FILTER,
        &raw const program,
        size_of::<libc::sock_fprog>()
    )
}

fn socket_filter(_: &[String]) -> Tried {
    attach(netlink(libc::NETLINK_ROUTE)?, &mut [PASS])?;
    Ok("attached".into())
}

/// Forks as many processes as the first argument says. Each attaches filters of maximum length to as many sockets as
/// possible for a second. Returns the number of filters.
fn fill_filters(arguments: &[String]) -> Tried {
    let fill = || {
        let load = libc::sock_filter {
            code: 0,
            jt: 0,
            jf: 0,
            k: 1,
        };
        let mut code = [load; 4096];
        code[4095] = PASS;
        let mut attached = 0;
        while let Ok(socket) = netlink(libc::NETLINK_ROUTE) {
            attached += i32::from(attach(socket, &mut code).is_ok());
        }
        let rest = libc::timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        let _ = sys!(libc::SYS_nanosleep, &raw const rest, 0);
        attached.min(255)
    };
    let children: Vec<i32> = (0..number(arguments, 0))
        .filter_map(|_| raw::fork(fill).ok())
        .collect();
    let statuses = children.iter().filter_map(|child| raw::wait(*child).ok());
    let attached: i32 = statuses.map(|status| status >> 8).sum();
    Ok(format!("{attached} by {}", children.len()))
}

fn host_filter(_: &[String]) -> Tried {
    let mut pass = [libc::sock_filter {
        k: libc::SECCOMP_RET_ALLOW,
        ..PASS
    }];
    let program = libc::sock_fprog {
        len: 1,
        filter: pass.as_mut_ptr(),
    };
    sys!(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)?;
    sys!(libc::SYS_prctl, libc::PR_SET_SECCOMP, 2, &raw const program)?;
    Ok("installed".into())
}

fn direct_read(arguments: &[String]) -> Tried {
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(argument(arguments, 0))?;
    Ok(format!("descriptor {}", file.as_raw_fd()))
}

fn direct_later(arguments: &[String]) -> Tried {
    let file = File::open(argument(arguments, 0))?;
    let set = libc::O_DIRECT | libc::O_NONBLOCK;
    sys!(libc::SYS_fcntl, file.as_raw_fd(), libc::F_SETFL, set)?;
    Ok("set".into())
}

fn direct_openat2(arguments: &[String]) -> Tried {
    // `struct open_how`: flags, mode, resolve.
    let how = [libc::O_DIRECT as u64, 0, 0];
    let name = path(argument(arguments, 0));
    sys!(
        libc::SYS_openat2,
        libc::AT_FDCWD,
        name.as_ptr(),
        how.as_ptr(),
        24
    )?;
    Ok("opened".into())
}

/// The address is invalid. Success therefore means that the kernel did not see the call.
fn page_out(_: &[String]) -> Tried {
    const COLD: i32 = 20;
    const PAGEOUT: i32 = 21;
    for advice in [COLD, PAGEOUT] {
        let asked = sys!(libc::SYS_madvise, 1, 4096, advice);
        if let Err(refused) = asked {
            return passed_the_check(Err(refused), &[libc::EINVAL]);
        }
    }
    Err(Refused(libc::EALREADY))
}

fn netlink_xfrm(_: &[String]) -> Tried {
    const XFRM: i32 = 6;
    netlink(XFRM)?;
    Ok("made".into())
}

fn whiteout(arguments: &[String]) -> Tried {
    const WHITEOUT: u32 = 4;
    let (from, to) = (path(argument(arguments, 0)), path(argument(arguments, 1)));
    let here = libc::AT_FDCWD;
    sys!(
        libc::SYS_renameat2,
        here,
        from.as_ptr(),
        here,
        to.as_ptr(),
        WHITEOUT
    )?;
    Ok("renamed".into())
}

fn map_huge(_: &[String]) -> Tried {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB;
    sys!(libc::SYS_mmap, 0, 2 << 20, libc::PROT_READ, flags, -1, 0)?;
    Ok("mapped".into())
}

fn memfd_huge(_: &[String]) -> Tried {
    sys!(libc::SYS_memfd_create, c"huge".as_ptr(), libc::MFD_HUGETLB)?;
    Ok("made".into())
}

fn aio(_: &[String]) -> Tried {
    let mut context = 0_u64;
    sys!(libc::SYS_io_setup, 1, &raw mut context)?;
    Ok("made".into())
}

fn secret_memory(_: &[String]) -> Tried {
    sys!(libc::SYS_memfd_secret, 0)?;
    Ok("made".into())
}

fn shm_huge(_: &[String]) -> Tried {
    let flags = libc::IPC_CREAT | libc::SHM_HUGETLB | 0o600;
    let id = sys!(libc::SYS_shmget, libc::IPC_PRIVATE, 2 << 20, flags)?;
    sys!(libc::SYS_shmctl, id, libc::IPC_RMID, 0)?;
    Ok("made".into())
}

/// Forks up to the requested number of children. Returns how many forks succeeded.
fn forks(arguments: &[String]) -> Tried {
    let mut children = Vec::new();
    for _ in 0..number(arguments, 0) {
        let Ok(child) = raw::fork(raw::pause) else {
            break;
        };
        children.push(child);
    }
    for child in &children {
        sys!(libc::SYS_kill, *child, libc::SIGKILL)?;
        raw::wait(*child)?;
    }
    Ok(format!("{}", children.len()))
}

fn sessions(arguments: &[String]) -> Tried {
    let mut pipe = [0_i32; 2];
    sys!(libc::SYS_pipe2, pipe.as_mut_ptr(), 0)?;
    let many = number(arguments, 0);
    for _ in 0..many {
        raw::fork(|| {
            let started = [u8::from(sys!(libc::SYS_setsid).is_ok())];
            let _ = sys!(libc::SYS_write, pipe[1], started.as_ptr(), 1);
            raw::pause()
        })?;
    }
    let mut started = 0;
    for _ in 0..many {
        let mut one = [0_u8];
        sys!(libc::SYS_read, pipe[0], one.as_mut_ptr(), 1)?;
        started += i32::from(one[0]);
    }
    println!("ready");
    let rest = libc::timespec {
        tv_sec: 3600,
        tv_nsec: 0,
    };
    let _ = sys!(libc::SYS_nanosleep, &raw const rest, 0);
    Ok(format!("{started}"))
}

fn grow(fd: usize, arguments: &[String], index: usize) -> Tried {
    let bytes: u64 = argument(arguments, index).parse().expect("a number");
    // Otherwise the kernel's refusal is a signal.
    let ignore = [1_usize, 0, 0, 0];
    sys!(libc::SYS_rt_sigaction, libc::SIGXFSZ, ignore.as_ptr(), 0, 8)?;
    sys!(libc::SYS_ftruncate, fd, bytes)?;
    Ok(format!("{bytes}"))
}

fn grow_memory(arguments: &[String]) -> Tried {
    let fd = sys!(libc::SYS_memfd_create, c"pool".as_ptr(), 0)?;
    grow(fd, arguments, 0)
}

fn grow_file(arguments: &[String]) -> Tried {
    let file = File::create(argument(arguments, 0))?;
    grow(file.as_raw_fd() as usize, arguments, 1)
}

/// Fills one connection to itself without reading, with large buffers. Returns the bytes that the kernel holds.
fn hold_tcp(_: &[String]) -> Tried {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    let listener = TcpListener::bind("127.0.0.1:0")?;
    let large = |fd: i32| {
        let bytes = 8 << 20_i32;
        for option in [libc::SO_SNDBUF, libc::SO_RCVBUF] {
            sys!(
                libc::SYS_setsockopt,
                fd,
                libc::SOL_SOCKET,
                option,
                &raw const bytes,
                4
            )?;
        }
        Ok::<(), Refused>(())
    };
    large(listener.as_raw_fd())?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    large(near.as_raw_fd())?;
    large(far.as_raw_fd())?;
    near.set_write_timeout(Some(std::time::Duration::from_secs(1)))?;
    let chunk = [0; 16 << 10];
    let mut held = 0;
    while let Ok(written) = near.write(&chunk) {
        held += written;
    }
    Ok(format!("{held}"))
}

fn memory_program(_: &[String]) -> Tried {
    let fd = sys!(libc::SYS_memfd_create, c"program".as_ptr(), 0)?;
    let text = b"#!/bin/true\n";
    sys!(libc::SYS_write, fd, text.as_ptr(), text.len())?;
    let child = raw::fork(|| {
        let argv = [c"true".as_ptr(), std::ptr::null()];
        let empty = libc::AT_EMPTY_PATH;
        let _ = sys!(
            libc::SYS_execveat,
            fd,
            c"".as_ptr(),
            argv.as_ptr(),
            argv[1..].as_ptr(),
            empty
        );
        99
    })?;
    match raw::wait(child)? {
        0 => Ok("ran".into()),
        status => Ok(format!("status {status}")),
    }
}

fn inotify_as(arguments: &[String]) -> Tried {
    let uid = number(arguments, 0);
    sys!(libc::SYS_setresuid, uid, uid, uid)?;
    sys!(libc::SYS_inotify_init1, 0)?;
    Ok("made".into())
}

fn files_limit(_: &[String]) -> Tried {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    sys!(
        libc::SYS_prlimit64,
        0,
        libc::RLIMIT_NOFILE,
        0,
        &raw mut limit
    )?;
    Ok(format!("{}", limit.rlim_max))
}

/// Returns the netlink protocols on which a port id can be chosen freely.
fn netlink_ports(_: &[String]) -> Tried {
    // `struct sockaddr_nl`: family, padding, port id, groups. No process has such an id.
    let address = [libc::AF_NETLINK as u32, 0x7e00_0000 | std::process::id(), 0];
    let taken = (0..32).filter(|protocol| {
        let socket = netlink(*protocol);
        socket.is_ok_and(|socket| sys!(libc::SYS_bind, socket, address.as_ptr(), 12).is_ok())
    });
    let taken: Vec<String> = taken.map(|protocol| protocol.to_string()).collect();
    Ok(taken.join(" "))
}

/// Creates at most as many sets as the first argument says, of as many semaphores as the second. Returns their number.
fn semaphores(arguments: &[String]) -> Tried {
    let (most, each) = (number(arguments, 0), number(arguments, 1));
    let made = (0..most).take_while(|_| {
        let set = sys!(libc::SYS_semget, libc::IPC_PRIVATE, each, 0o600);
        set.is_ok()
    });
    let semaphores_taken = made.count() * usize::try_from(each).expect("a number of semaphores");
    Ok(semaphores_taken.to_string())
}
