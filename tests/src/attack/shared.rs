//! Attacks on what all processes share without file permissions: waits, flushes, logs, hints, modules, crash handling.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use super::REFUSED;
use super::objects::Waiter;
use super::raw::sys;
use super::{Attack, Expect, Refused, Tried, argument, attack, passed_the_check};

const ABSENT: Expect = Expect::Errno(libc::ENOSYS);
/// An attack reports this if the call succeeded without an effect.
const UNCHANGED: Expect = Expect::Errno(libc::EALREADY);

#[rustfmt::skip] // a table, one row a line
pub const ATTACKS: &[Attack] = &[
    attack("futex-requeue", "seccomp_locks", ABSENT, "move a process that waits in a shared file to where nobody wakes it", futex_requeue),
    attack("futex2-requeue", "seccomp_locks", ABSENT, "the same by the newer call", futex2_requeue).optional(),
    attack("flush", "seccomp_locks", UNCHANGED, "make the kernel write to the disks at once, or drop what is cached", flush),
    attack("write-hint", "seccomp_locks", REFUSED, "leave a hint with a file that says how long its data live", write_hint).optional(),
    attack("fifo-size", "seccomp_locks", REFUSED, "change the buffer of a FIFO that it may read", fifo_size),
    attack("core-limit", "rlimits", UNCHANGED, "have the host's core handler run, by a limit of 0", core_limit),
    attack("core-limit-older", "rlimits", UNCHANGED, "the same by the older call", core_limit_older),
    attack("own-filter", "seccomp_refused", UNCHANGED, "install a filter, which may log each call", own_filter),
    attack("own-filter-older", "seccomp_refused", UNCHANGED, "the same by the older call", own_filter_older),
    attack("own-listener", "seccomp_refused", REFUSED, "install a filter that asks a supervisor", own_listener),
    attack("own-domain", "seccomp_refused", ABSENT, "use Landlock, which may log each refusal", own_domain).optional(),
    attack("own-label", "seccomp_refused", ABSENT, "change to a profile of AppArmor that logs each refusal", own_label).optional(),
    attack("signal-io", "seccomp_refused", UNCHANGED, "have a file send signals, by lists under one lock of the machine", signal_io),
    attack("line-discipline", "seccomp_refused", REFUSED, "have the kernel load the module of a line discipline", line_discipline),
    attack("large-acl", "seccomp_refused", Expect::Errno(libc::E2BIG), "take memory by an access list, which no limit counts", large_acl).absent(&[libc::EOPNOTSUPP]),
    attack("large-acl-at", "seccomp_refused", ABSENT, "the same by the newer call", large_acl_at).absent(&[libc::ENOSYS, libc::EOPNOTSUPP]),
    attack("memory-policy", "seccomp_refused", UNCHANGED, "leave policies with a memory file, which no limit counts", memory_policy).absent(&[libc::ENOSYS]),
    attack("bridge-module", "seccomp_refused", REFUSED, "have the kernel load a module", bridge_module).impossible("it would load the module"),
    attack("file-system-key", "seccomp_refused", REFUSED, "leave an encryption key with a file system", file_system_key),
];

fn futex_requeue(arguments: &[String]) -> Tried {
    const CMP_REQUEUE: i32 = 4;
    let foreign = Waiter::map(&File::open(argument(arguments, 0))?)?;
    let mine = 0_u32;
    let most = i32::MAX;
    let moved = sys!(
        libc::SYS_futex,
        foreign,
        CMP_REQUEUE,
        0,
        most,
        &raw const mine,
        0
    )?;
    Ok(format!("moved {moved}"))
}

fn futex2_requeue(arguments: &[String]) -> Tried {
    const NUMBER: i64 = 456;
    const SIZE_U32: u64 = 2;
    let foreign = Waiter::map(&File::open(argument(arguments, 0))?)?;
    let mine = 0_u32;
    // Two `struct futex_waitv`: value, address, flags.
    let from_to = [
        0,
        foreign as u64,
        SIZE_U32,
        0,
        &raw const mine as u64,
        SIZE_U32,
    ];
    let moved = sys!(NUMBER, from_to.as_ptr(), 0, 0, i32::MAX)?;
    Ok(format!("moved {moved}"))
}

/// The arguments are invalid. Success therefore means that the kernel did not see the call.
fn flush(_: &[String]) -> Tried {
    const DONTNEED: i32 = 4;
    let wrong = [libc::EBADF, libc::ENOMEM];
    let hole = 4096_usize;
    for answer in [
        sys!(libc::SYS_fsync, -1),
        sys!(libc::SYS_fdatasync, -1),
        sys!(libc::SYS_syncfs, -1),
        sys!(libc::SYS_sync_file_range, -1, 0, 0, 0),
        sys!(libc::SYS_msync, hole, 4096, libc::MS_SYNC),
        sys!(libc::SYS_fadvise64, -1, 0, 0, DONTNEED),
    ] {
        match answer {
            Ok(_) => {}
            Err(Refused(errno)) if wrong.contains(&errno) => {
                return Ok("permitted, the argument was wrong on purpose".into());
            }
            Err(refused) => return Err(refused),
        }
    }
    Err(Refused(libc::EALREADY))
}

fn write_hint(arguments: &[String]) -> Tried {
    const SET_RW_HINT: i32 = 1036;
    const SHORT: u64 = 2;
    let file = File::open(argument(arguments, 0))?;
    let hint = SHORT;
    sys!(
        libc::SYS_fcntl,
        file.as_raw_fd(),
        SET_RW_HINT,
        &raw const hint
    )?;
    Ok("left".into())
}

fn fifo_size(arguments: &[String]) -> Tried {
    let reader = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(argument(arguments, 0))?;
    let fd = reader.as_raw_fd();
    sys!(libc::SYS_fcntl, fd, libc::F_SETPIPE_SZ, 4096)?;
    Ok("changed".into())
}

/// With a limit of 1 a crash is not reported. With 0 a core handler that is a pipe still runs. core(5)
fn core_is_zero(set: Result<usize, Refused>) -> Tried {
    set?;
    let limits = fs::read_to_string("/proc/self/limits")?;
    let core = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"));
    match core.and_then(|core| core.split_whitespace().next()) {
        Some("0") => Ok("a crash would be reported".into()),
        _ => Err(Refused(libc::EALREADY)),
    }
}

const NO_CORE: libc::rlimit = libc::rlimit {
    rlim_cur: 0,
    rlim_max: 0,
};

fn core_limit(_: &[String]) -> Tried {
    let limit = NO_CORE;
    let core = libc::RLIMIT_CORE;
    core_is_zero(sys!(libc::SYS_prlimit64, 0, core, &raw const limit, 0))
}

fn core_limit_older(_: &[String]) -> Tried {
    let limit = NO_CORE;
    core_is_zero(sys!(
        libc::SYS_setrlimit,
        libc::RLIMIT_CORE,
        &raw const limit
    ))
}

fn filters() -> io::Result<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find(|line| line.starts_with("Seccomp_filters"));
    Ok(line.unwrap_or_default().to_owned())
}

/// Installs a filter that allows everything.
fn filter(install: impl FnOnce(*const libc::sock_fprog) -> Result<usize, Refused>) -> Tried {
    let mut pass = [libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ALLOW,
    }];
    let program = libc::sock_fprog {
        len: 1,
        filter: pass.as_mut_ptr(),
    };
    sys!(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)?;
    let before = filters()?;
    install(&raw const program)?;
    if filters()? == before {
        return Err(Refused(libc::EALREADY));
    }
    Ok("installed".into())
}

fn own_filter(_: &[String]) -> Tried {
    const SET_MODE_FILTER: i32 = 1;
    filter(|program| sys!(libc::SYS_seccomp, SET_MODE_FILTER, 0, program))
}

fn own_filter_older(_: &[String]) -> Tried {
    const FILTER: i32 = 2;
    filter(|program| sys!(libc::SYS_prctl, libc::PR_SET_SECCOMP, FILTER, program))
}

fn own_listener(_: &[String]) -> Tried {
    const SET_MODE_FILTER: i32 = 1;
    const NEW_LISTENER: i32 = 8;
    filter(|program| sys!(libc::SYS_seccomp, SET_MODE_FILTER, NEW_LISTENER, program))
}

fn own_domain(_: &[String]) -> Tried {
    const VERSION: i32 = 1;
    let version = sys!(libc::SYS_landlock_create_ruleset, 0, 0, VERSION)?;
    Ok(format!("version {version}"))
}

/// LSM_ATTR_CURRENT without a context.
fn own_label(_: &[String]) -> Tried {
    const NUMBER: i64 = 460;
    const CURRENT: i32 = 100;
    passed_the_check(
        sys!(NUMBER, CURRENT, 0, 0, 0),
        &[libc::EINVAL, libc::EOPNOTSUPP],
    )
}

fn signal_io(_: &[String]) -> Tried {
    let (mut pipe, on) = ([0_i32; 2], 1_i32);
    sys!(libc::SYS_pipe2, pipe.as_mut_ptr(), 0)?;
    sys!(libc::SYS_ioctl, pipe[0], libc::FIOASYNC, &raw const on)?;
    match sys!(libc::SYS_fcntl, pipe[0], libc::F_GETFL)? & libc::O_ASYNC as usize {
        0 => Err(Refused(libc::EALREADY)),
        _ => Ok("entered".into()),
    }
}

/// The descriptor is wrong, so no module is loaded.
fn line_discipline(_: &[String]) -> Tried {
    let discipline = 3_i32;
    let set = sys!(libc::SYS_ioctl, -1, libc::TIOCSETD, &raw const discipline);
    passed_the_check(set, &[libc::EBADF])
}

const ACCESS_LIST: &std::ffi::CStr = c"system.posix_acl_access";

/// Returns an access list that names so many users, as acl(5) and linux/posix_acl_xattr.h of the kernel have it.
fn access_list(users: u32) -> Vec<u8> {
    const VERSION: u32 = 2;
    let entry = |tag: u16, id: u32| {
        let [tag, rights] = [tag, 6].map(u16::to_le_bytes);
        [tag, rights].concat().into_iter().chain(id.to_le_bytes())
    };
    let named = (0..users).map(|user| (2, user));
    let others = [(4, u32::MAX), (0x10, u32::MAX), (0x20, u32::MAX)];
    let entries = [(1, u32::MAX)].into_iter().chain(named).chain(others);
    let entries = entries.flat_map(|(tag, id)| entry(tag, id));
    VERSION.to_le_bytes().into_iter().chain(entries).collect()
}

/// On a file in memory, whose bytes alone would be counted.
fn set_list(users: u32) -> Tried {
    let file = sys!(libc::SYS_memfd_create, c"list".as_ptr(), 0)?;
    let list = access_list(users);
    sys!(
        libc::SYS_fsetxattr,
        file,
        ACCESS_LIST.as_ptr(),
        list.as_ptr(),
        list.len(),
        0
    )?;
    Ok(format!("{} bytes", list.len()))
}

fn large_acl(_: &[String]) -> Tried {
    set_list(200)
}

/// Asserts that an access list as people make them can be set, if file systems in memory have such lists.
pub fn small_acl(_: &[String]) -> Tried {
    match set_list(100) {
        Err(Refused(libc::EOPNOTSUPP)) => Ok("there are none".into()),
        set => set,
    }
}

fn large_acl_at(_: &[String]) -> Tried {
    const NUMBER: i64 = 463;
    let file = sys!(libc::SYS_memfd_create, c"list".as_ptr(), 0)?;
    let list = access_list(200);
    // `struct xattr_args`: value, size, flags.
    let args = [list.as_ptr() as u64, list.len() as u64];
    sys!(
        NUMBER,
        file,
        c"".as_ptr(),
        libc::AT_EMPTY_PATH,
        ACCESS_LIST.as_ptr(),
        args.as_ptr(),
        16
    )?;
    Ok(format!("{} bytes", list.len()))
}

/// The policy is the file's. It would stay with it without the mapping.
fn memory_policy(_: &[String]) -> Tried {
    const BIND: i32 = 2;
    const OF_ADDRESS: i32 = 2;
    let fd = sys!(libc::SYS_memfd_create, c"policy".as_ptr(), 0)?;
    let shared = libc::MAP_SHARED;
    let at = sys!(libc::SYS_mmap, 0, 4096, libc::PROT_READ, shared, fd, 0)?;
    let (first_node, mut found) = (1_u64, 0_i32);
    sys!(
        libc::SYS_mbind,
        at,
        4096,
        BIND,
        &raw const first_node,
        64,
        0
    )?;
    sys!(
        libc::SYS_get_mempolicy,
        &raw mut found,
        0,
        0,
        at,
        OF_ADDRESS
    )?;
    match found {
        BIND => Ok("left".into()),
        _ => Err(Refused(libc::EALREADY)),
    }
}

/// SIOCGIFBR reaches the module before any capability check, on a socket of any family.
fn bridge_module(_: &[String]) -> Tried {
    const SIOCGIFBR: i32 = 0x8940;
    let mut pair = [0_i32; 2];
    let stream = libc::SOCK_STREAM;
    sys!(
        libc::SYS_socketpair,
        libc::AF_UNIX,
        stream,
        0,
        pair.as_mut_ptr()
    )?;
    passed_the_check(
        sys!(libc::SYS_ioctl, pair[0], SIOCGIFBR, 0),
        &[libc::EFAULT],
    )
}

/// FS_IOC_ADD_ENCRYPTION_KEY without a key. Few file systems support encryption.
fn file_system_key(arguments: &[String]) -> Tried {
    const ADD_KEY: u32 = 0xc050_6617;
    let file = File::open(argument(arguments, 0))?;
    let answer = sys!(libc::SYS_ioctl, file.as_raw_fd(), ADD_KEY, 0);
    passed_the_check(answer, &[libc::EFAULT, libc::EOPNOTSUPP, libc::ENOTTY])
}

/// Asserts that calls which programs depend on return success, for the checks of [`super::allowed`].
pub fn all_answer(name: &str) -> Tried {
    let file = File::open(name)?;
    let fd = file.as_raw_fd();
    sys!(libc::SYS_fsync, fd)?;
    sys!(libc::SYS_fdatasync, fd)?;
    let limit = NO_CORE;
    let core = libc::RLIMIT_CORE;
    sys!(libc::SYS_prlimit64, 0, core, &raw const limit, 0)?;
    let mut present = NO_CORE;
    sys!(libc::SYS_prlimit64, 0, core, 0, &raw mut present)?;
    match own_filter(&[]) {
        Ok(_) | Err(Refused(libc::EALREADY)) => Ok("all answered".into()),
        Err(refused) => Err(refused),
    }
}
