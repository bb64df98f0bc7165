//! Checks of what must work in profile `read`. It restricts changes and reach, but not visibility or normal programs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use super::raw::{self, path, sys};
use super::{Refused, Tried, argument, files, locks, network, shared, strict};

/// One thing that must work.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Unique name.
    pub id: &'static str,
    /// Description.
    pub what: &'static str,
    /// Performs the check.
    pub run: fn(&[String]) -> Tried,
}

pub(super) const fn check(
    id: &'static str,
    what: &'static str,
    run: fn(&[String]) -> Tried,
) -> Check {
    Check { id, what, run }
}

/// All checks. The scene passes a world-readable file, the pid of a host process, and a log of group adm.
#[rustfmt::skip] // a table, one row a line
pub const ALL: &[Check] = &[
    check("may-read-file", "read a world-readable file of the host", |a| read(argument(a, 0))),
    check("may-read-log", "read a log that only group adm may read", |a| read(argument(a, 2))),
    check("may-list-root", "list the root directory", |_| listing("/")),
    check("may-list-dev", "see the host's devices", |_| { listing("/dev") }),
    check("may-see-host-process", "see a process of the host in /proc", host_process),
    check("may-see-init", "see pid 1 of the host", |_| { read("/proc/1/stat") }),
    check("may-use-tmp", "use a private /tmp in every way", |_| { private("/tmp") }),
    check("may-use-var-tmp", "use a private /var/tmp in every way", |_| private("/var/tmp")),
    check("may-use-shm", "use a private /dev/shm in every way", |_| { private("/dev/shm") }),
    check("may-write-null", "write to /dev/null", |_| { write("/dev/null") }),
    check("may-fill-full", "get the error of /dev/full", full),
    check("may-read-zero", "read /dev/zero", |_| { some_bytes("/dev/zero") }),
    check("may-read-random", "read /dev/random", |_| { some_bytes("/dev/random") }),
    check("may-read-urandom", "read /dev/urandom", |_| { some_bytes("/dev/urandom") }),
    check("may-reopen-stdout", "open /dev/stdout", |_| { open_for_writing("/dev/stdout") }),
    check("may-reopen-stderr", "open /dev/stderr", |_| { open_for_writing("/dev/stderr") }),
    check("may-pair-stream", "make a stream socketpair", |_| { pair(libc::SOCK_STREAM) }),
    check("may-pair-seqpacket", "make a seqpacket socketpair", |_| { pair(libc::SOCK_SEQPACKET) }),
    check("may-list-links", "list network interfaces", |_| { network::dump(libc::NETLINK_ROUTE, 18, &[0; 16]) }),
    check("may-list-addresses", "list addresses", |_| { network::dump(libc::NETLINK_ROUTE, 22, &[0; 8]) }),
    check("may-list-routes", "list routes", |_| { network::dump(libc::NETLINK_ROUTE, 26, &[0; 12]) }),
    check("may-list-tcp", "list TCP sockets", |_| { sock_diag(libc::AF_INET as u8, libc::IPPROTO_TCP as u8, 56) }),
    check("may-list-unix", "list unix sockets", |_| { sock_diag(libc::AF_UNIX as u8, 0, 24) }),
    check("may-ask-generic", "list generic netlink families", |_| { network::dump(libc::NETLINK_GENERIC, 16, &[3, 1, 0, 0]) }),
    check("may-fork", "fork and wait", fork),
    check("may-signal-child", "kill its own child", signal_child),
    check("may-thread", "run threads", thread),
    check("may-exec", "execute a program", |_| exec("true")),
    check("may-exec-shell", "run a pipeline", |_| { shell("printf 'b\\na\\n' | sort | head -1 | grep -q a") }),
    check("may-subshell-redirect", "redirect into /dev/stderr", |_| { shell("echo x > /dev/stderr") }),
    check("may-map-code", "map memory and execute it", map_code),
    check("may-memfd", "make a memory file", memfd),
    check("may-epoll", "make an epoll", |_| { made(sys!(libc::SYS_epoll_create1, 0)) }),
    check("may-eventfd", "make an eventfd", |_| { made(sys!(libc::SYS_eventfd2, 0, 0)) }),
    check("may-timerfd", "make a timerfd", |_| { made(sys!(libc::SYS_timerfd_create, libc::CLOCK_MONOTONIC, 0)) }),
    check("may-inotify", "watch a directory", inotify),
    check("may-pidfd", "make a pidfd of itself", |_| { made(sys!(libc::SYS_pidfd_open, std::process::id(), 0)) }),
    check("may-openat2", "open by openat2, as tar does, or learn that there is none, as tar expects of older kernels", openat2),
    check("may-statx", "ask for metadata by statx", |_| { files::statx("/etc/passwd") }),
    check("may-yield", "yield the processor", |_| { made(sys!(libc::SYS_sched_yield)) }),
    check("may-getrandom", "get random bytes", getrandom),
    check("may-nice", "make itself less important", |_| { made(sys!(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, 5)) }),
    check("may-lock", "have each lock call answer success", |a| { locks::all_answer(argument(a, 0)) }),
    check("may-insist", "flush a file, forbid itself to dump core, and install a filter", |a| { shared::all_answer(argument(a, 0)) }),
    check("may-set-acl", "give an access list to a file in memory", shared::small_acl),
    check("may-list-shm", "list System V segments, as ipcs does", |_| ctl(libc::SYS_shmctl, 14)),
    check("may-list-sem", "list System V semaphores, as ipcs does", |_| semctl(19)),
    check("may-list-msg", "list System V queues, as ipcs does", |_| { ctl(libc::SYS_msgctl, 12) }),
    check("may-setsid", "start a session, or get the answer that it did", setsid),
];

/// Sandbox layers that a job can see, if no single call would show their absence.
#[rustfmt::skip] // a table, one row a line
pub const LAYERS: &[Check] = &[
    check("is-nosuid", "every mount ignores setuid bits", is_nosuid),
    check("is-no-new-privs", "no program brings new rights", |_| status_is("NoNewPrivs", "1")),
    check("is-filtered", "two filters stand", |_| status_is("Seccomp", "2")),
    check("is-powerless", "the five capability sets are empty", is_powerless),
    check("is-limited", "open files are limited as asked", is_limited),
    check("is-plain", "it is scheduled like others and the first to go when memory is short", is_plain),
    check("is-own-keyring", "its session keyring is its own", is_own_keyring),
];

/// Returns all checks.
pub fn all() -> impl Iterator<Item = &'static Check> {
    ALL.iter().chain(LAYERS).chain(strict::CHECKS)
}

/// Finds a check by name.
#[must_use]
pub fn named(id: &str) -> Option<&'static Check> {
    all().find(|check| check.id == id)
}

pub(super) fn truth(holds: bool, what: String) -> Tried {
    if holds {
        Ok(what)
    } else {
        Err(Refused(libc::ENOTRECOVERABLE))
    }
}

fn is_nosuid(_: &[String]) -> Tried {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let lacking = mounts.lines().find(|line| {
        let options = line.split_whitespace().nth(5).unwrap_or_default();
        !options.split(',').any(|option| option == "nosuid")
    });
    truth(
        lacking.is_none(),
        format!("{} mounts", mounts.lines().count()),
    )
}

fn status(name: &str) -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

fn status_is(name: &str, value: &str) -> Tried {
    truth(status(name) == value, format!("{name} {}", status(name)))
}

fn is_powerless(_: &[String]) -> Tried {
    let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(status);
    truth(
        sets.iter()
            .all(|set| set.trim_start_matches('0').is_empty()),
        format!("{sets:?}"),
    )
}

fn is_limited(_: &[String]) -> Tried {
    const FILES: u64 = 4096;
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
    truth(
        limit.rlim_max <= FILES,
        format!("{} open files", limit.rlim_max),
    )
}

fn is_plain(_: &[String]) -> Tried {
    let score = fs::read_to_string("/proc/self/oom_score_adj")?;
    // The raw call returns 20 - nice.
    let priority = sys!(libc::SYS_getpriority, libc::PRIO_PROCESS, 0)?;
    truth(
        score.trim() == "1000" && priority == 20,
        format!("oom_score_adj {}, priority {priority}", score.trim()),
    )
}

/// /proc/keys shows the keys that the reader possesses. An anonymous session keyring is named `_ses`.
fn is_own_keyring(_: &[String]) -> Tried {
    let keys = fs::read_to_string("/proc/keys")?;
    let own = keys.lines().any(|line| line.contains("_ses:"));
    truth(own, format!("{} keys", keys.lines().count()))
}

pub(super) fn made(result: Result<usize, Refused>) -> Tried {
    result.map(|value| format!("answered {value}"))
}

pub(super) fn read(name: &str) -> Tried {
    let content = fs::read(name)?;
    if content.is_empty() {
        return Err(Refused(libc::ENODATA));
    }
    Ok(format!("read {} bytes", content.len()))
}

fn listing(name: &str) -> Tried {
    let entries = fs::read_dir(name)?.count();
    if entries < 5 {
        return Err(Refused(libc::ENODATA));
    }
    Ok(format!("{entries} entries"))
}

fn host_process(arguments: &[String]) -> Tried {
    read(&format!("/proc/{}/cmdline", argument(arguments, 1)))
}

fn private(directory: &str) -> Tried {
    // The job's home is in one of them.
    let strange = |entry: &io::Result<fs::DirEntry>| {
        !entry
            .as_ref()
            .is_ok_and(|entry| entry.file_name() == "home")
    };
    if fs::read_dir(directory)?.any(|entry| strange(&entry)) {
        return Err(Refused(libc::ENOTEMPTY));
    }
    let inside = |name: &str| format!("{directory}/{name}");
    fs::write(inside("file"), "text")?;
    fs::set_permissions(inside("file"), fs::Permissions::from_mode(0o600))?;
    fs::rename(inside("file"), inside("renamed"))?;
    fs::hard_link(inside("renamed"), inside("second"))?;
    symlink("renamed", inside("link"))?;
    OpenOptions::new()
        .append(true)
        .open(inside("link"))?
        .write_all(b" and more")?;
    OpenOptions::new()
        .write(true)
        .open(inside("second"))?
        .set_len(4)?;
    if fs::read(inside("link"))? != b"text" {
        return Err(Refused(libc::EIO));
    }
    fs::create_dir(inside("directory"))?;
    sys!(
        libc::SYS_mknodat,
        libc::AT_FDCWD,
        path(&inside("fifo")).as_ptr(),
        libc::S_IFIFO | 0o600,
        0
    )?;
    for name in ["renamed", "second", "link", "fifo"] {
        fs::remove_file(inside(name))?;
    }
    fs::remove_dir(inside("directory"))?;
    Ok("everything worked".into())
}

fn write(name: &str) -> Tried {
    OpenOptions::new()
        .write(true)
        .open(name)?
        .write_all(b"text")?;
    Ok("written".into())
}

fn open_for_writing(name: &str) -> Tried {
    OpenOptions::new().write(true).open(name)?;
    Ok("opened".into())
}

fn full(_: &[String]) -> Tried {
    match write("/dev/full") {
        Err(Refused(libc::ENOSPC)) => Ok("full".into()),
        Err(refused) => Err(refused),
        Ok(_) => Err(Refused(libc::EIO)),
    }
}

fn some_bytes(name: &str) -> Tried {
    let mut bytes = [0; 16];
    File::open(name)?.read_exact(&mut bytes)?;
    Ok("read".into())
}

fn pair(kind: i32) -> Tried {
    let mut ends = [0_i32; 2];
    sys!(
        libc::SYS_socketpair,
        libc::AF_UNIX,
        kind | libc::SOCK_CLOEXEC,
        0,
        ends.as_mut_ptr()
    )?;
    sys!(libc::SYS_write, ends[0], b"text".as_ptr(), 4)?;
    let mut text = [0_u8; 4];
    made(sys!(libc::SYS_read, ends[1], text.as_mut_ptr(), 4))
}

/// SOCK_DIAG_BY_FAMILY for sockets in every state. The length of the request depends on the family.
fn sock_diag(family: u8, protocol: u8, length: usize) -> Tried {
    let mut body = vec![0; length];
    body[0] = family;
    body[1] = protocol;
    body[4..8].fill(0xff);
    network::dump(libc::NETLINK_SOCK_DIAG, 20, &body)
}

fn fork(_: &[String]) -> Tried {
    let status = raw::wait(raw::fork(|| 7)?)?;
    if libc::WEXITSTATUS(status) == 7 {
        Ok("waited".into())
    } else {
        Err(Refused(libc::ECHILD))
    }
}

fn signal_child(_: &[String]) -> Tried {
    let child = raw::fork(raw::pause)?;
    sys!(libc::SYS_kill, child, libc::SIGKILL)?;
    raw::wait(child)?;
    Ok("killed".into())
}

fn thread(_: &[String]) -> Tried {
    match std::thread::spawn(|| 7).join() {
        Ok(7) => Ok("joined".into()),
        Ok(_) | Err(_) => Err(Refused(libc::EAGAIN)),
    }
}

fn exec(program: &str) -> Tried {
    let status = Command::new(program).status()?;
    if status.success() {
        Ok("ran".into())
    } else {
        Err(Refused(libc::ENOEXEC))
    }
}

fn shell(script: &str) -> Tried {
    let status = Command::new("sh").args(["-c", script]).status()?;
    if status.success() {
        Ok("ran".into())
    } else {
        Err(Refused(libc::ENOEXEC))
    }
}

fn map_code(_: &[String]) -> Tried {
    #[cfg(target_arch = "x86_64")]
    let code = [0xb8, 7, 0, 0, 0, 0xc3];
    #[cfg(target_arch = "aarch64")]
    let code = [0xe0, 0, 0x80, 0x52, 0xc0, 0x03, 0x5f, 0xd6];
    match raw::execute_mapped(&code)? {
        7 => Ok("executed".into()),
        _ => Err(Refused(libc::ENOEXEC)),
    }
}

fn memfd(_: &[String]) -> Tried {
    let fd = sys!(
        libc::SYS_memfd_create,
        path("remit").as_ptr(),
        libc::MFD_CLOEXEC
    )?;
    made(sys!(libc::SYS_write, fd, b"text".as_ptr(), 4))
}

fn inotify(_: &[String]) -> Tried {
    let fd = sys!(libc::SYS_inotify_init1, 0)?;
    made(sys!(
        libc::SYS_inotify_add_watch,
        fd,
        path("/etc").as_ptr(),
        libc::IN_CREATE
    ))
}

fn openat2(_: &[String]) -> Tried {
    let how = [libc::O_RDONLY as u64, 0, 0];
    let opened = sys!(
        libc::SYS_openat2,
        libc::AT_FDCWD,
        path("/etc/passwd").as_ptr(),
        how.as_ptr(),
        24
    );
    match opened {
        Err(Refused(libc::ENOSYS)) => Ok("there is none".into()),
        opened => made(opened),
    }
}

fn getrandom(_: &[String]) -> Tried {
    let mut bytes = [0_u8; 16];
    made(sys!(libc::SYS_getrandom, bytes.as_mut_ptr(), 16, 0))
}

/// SHM_INFO and MSG_INFO fill a structure of less than 256 bytes.
fn ctl(call: i64, command: i32) -> Tried {
    let mut info = [0_u64; 32];
    made(sys!(call, 0, command, info.as_mut_ptr()))
}

fn semctl(command: i32) -> Tried {
    let mut info = [0_u64; 32];
    made(sys!(libc::SYS_semctl, 0, 0, command, info.as_mut_ptr()))
}

/// In a child, because a process group leader may not call setsid(2).
fn setsid(_: &[String]) -> Tried {
    let status = raw::wait(raw::fork(|| i32::from(sys!(libc::SYS_setsid).is_err()))?)?;
    if status == 0 {
        Ok("started".into())
    } else {
        Err(Refused(libc::EPERM))
    }
}
