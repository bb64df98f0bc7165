use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::check;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub cpu_usec: u64,
    pub maxrss_bytes: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ForkCall {
    #[default]
    Clone3,
    /// clone(2) with `CLONE_PIDFD`, if a filter refuses clone3.
    Clone,
}

/// Forks; the child runs `child` and exits with its result. With `cgroup` it starts there (`CLONE_INTO_CGROUP`, Linux
/// 5.7; only with `ForkCall::Clone3`). For processes of one thread. With more, `child` must be async-signal-safe (no
/// allocation). The job's child is, so tests may have threads.
pub fn fork(
    call: ForkCall,
    cgroup: Option<BorrowedFd<'_>>,
    child: impl FnOnce() -> i32,
) -> io::Result<(i32, OwnedFd)> {
    fork_as(call, cgroup, Parent::Caller, child)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent {
    Caller,
    /// The caller's parent (`CLONE_PARENT`): only that is notified and reaps.
    Callers,
}

pub fn fork_as(
    call: ForkCall,
    cgroup: Option<BorrowedFd<'_>>,
    parent: Parent,
    child: impl FnOnce() -> i32,
) -> io::Result<(i32, OwnedFd)> {
    match split(call, cgroup, parent)? {
        None => exit(child()),
        Some(forked) => Ok(forked),
    }
}

/// Does the same, but returns in the child, too: with `None`. It must end by [`exit`] or an exec.
pub fn split(
    call: ForkCall,
    cgroup: Option<BorrowedFd<'_>>,
    parent: Parent,
) -> io::Result<Option<(i32, OwnedFd)>> {
    let mut pidfd: RawFd = -1;
    let pid = match call {
        ForkCall::Clone3 => {
            // SAFETY: all fields are integers, for which zero is valid.
            let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
            args.flags = libc::CLONE_PIDFD as u64;
            args.pidfd = (&raw mut pidfd) as u64;
            match parent {
                Parent::Caller => args.exit_signal = libc::SIGCHLD as u64,
                // The child gets the exit signal that the caller was created with.
                Parent::Callers => args.flags |= libc::CLONE_PARENT as u64,
            }
            if let Some(cgroup) = cgroup {
                args.flags |= CLONE_INTO_CGROUP;
                args.cgroup = cgroup.as_raw_fd() as u64;
            }
            // SAFETY: no new stack and no shared memory: the child continues here with a copy of everything, as after
            // fork(2). `pidfd` outlives the call.
            unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) }
        }
        ForkCall::Clone => {
            let flags = match parent {
                Parent::Caller => libc::CLONE_PIDFD | libc::SIGCHLD,
                Parent::Callers => libc::CLONE_PIDFD | libc::CLONE_PARENT,
            };
            // SAFETY: as above. The third argument receives the pidfd on every architecture; the others are unused.
            unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0) }
        }
    };
    match check(pid)? {
        0 => Ok(None),
        pid => {
            // SAFETY: the kernel stored a new descriptor there that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Some((pid as i32, pidfd)))
        }
    }
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Ends the process at once, without destructors or exit functions of the parent.
pub fn exit(status: i32) -> ! {
    // SAFETY: _exit(2) takes any integer and does not return.
    unsafe { libc::_exit(status) }
}

pub fn reap(pid: i32) -> Option<(ExitStatus, Usage)> {
    wait(pid, libc::WNOHANG).ok().flatten()
}

/// Returns true if a child has ended with a status of its own, and not by a signal. It stays to be reaped.
pub fn has_exited(pid: i32) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    let ended = waitid(Id::Pid(Pid::from_raw(pid)), flags);
    matches!(ended, Ok(WaitStatus::Exited(..)))
}

pub fn wait(pid: i32, options: i32) -> io::Result<Option<(ExitStatus, Usage)>> {
    let mut status = 0;
    // SAFETY: all fields are integers, for which zero is valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid for the call.
    let r = unsafe { libc::wait4(pid, &raw mut status, options, &raw mut usage) };
    if check(r.into())? == 0 {
        return Ok(None);
    }
    let usec = |t: libc::timeval| t.tv_sec as u64 * 1_000_000 + t.tv_usec as u64;
    let usage = Usage {
        cpu_usec: usec(usage.ru_utime) + usec(usage.ru_stime),
        maxrss_bytes: usage.ru_maxrss as u64 * 1024,
    };
    Ok(Some((ExitStatus::from_raw(status), usage)))
}

pub fn pidfd_send_signal(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    let info = std::ptr::null::<libc::siginfo_t>();
    let fd = pidfd.as_fd().as_raw_fd();
    // SAFETY: integers and a null siginfo; the descriptor is borrowed, so it is open.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, info, 0) })?;
    Ok(())
}

/// Sends `signal` to the process group that `leader` leads. The caller, the leader's parent, must not have reaped it:
/// until then no other process can get the number. kill(2). Errors: ESRCH before the leader has made its group, and
/// when nothing of it is left. EINVAL if `leader` is 1 or less.
pub fn signal_group(leader: i32, signal: i32) -> io::Result<()> {
    if leader <= 1 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: integers only.
    check(unsafe { libc::kill(-leader, signal) }.into())?;
    Ok(())
}

/// Returns true if the process of `pidfd` has not ended; a zombie has ended. pidfd_open(2), poll(2).
pub fn pidfd_alive(pidfd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut poll = libc::pollfd {
        fd: pidfd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one valid pollfd; no waiting.
    let n = unsafe { libc::poll(&raw mut poll, 1, 0) };
    Ok(check(n.into())? == 0)
}

pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: integers only.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Returns whether the main thread of a process has ended, by proc_pid_stat(5). No pidfd reports that while another
/// thread lives.
pub fn has_zombie_main_thread(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name of the program may have parentheses.
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_some_and(|rest| rest.starts_with(['Z', 'X']))
}

pub fn parent() -> u32 {
    // SAFETY: no arguments; cannot fail.
    unsafe { libc::getppid() }.cast_unsigned()
}

pub fn new_session() -> io::Result<()> {
    // SAFETY: no arguments.
    check(unsafe { libc::setsid() }.into())?;
    Ok(())
}

/// Resets every signal to its default and unblocks all. Bare rt_sigaction, because libc reserves two signals.
pub fn default_signals() -> io::Result<()> {
    let default = [0u64; 4];
    for signal in (1..=64).filter(|s| ![libc::SIGKILL, libc::SIGSTOP].contains(s)) {
        let old = std::ptr::null::<u64>();
        // SAFETY: the kernel's sigaction of 32 bytes, all zero: SIG_DFL, no flags, no mask.
        check(unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), old, 8) })?;
    }
    let none = 0u64;
    let old = std::ptr::null::<u64>();
    // SAFETY: the kernel's sigset of 8 bytes.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            old,
            8,
        )
    })?;
    Ok(())
}

pub fn block_signals(open: Option<i32>) -> io::Result<()> {
    let bit = open.and_then(|signal| u32::try_from(signal).ok()?.checked_sub(1));
    let mask = !bit.map_or(0, |bit| 1u64.checked_shl(bit).unwrap_or(0));
    let old = std::ptr::null::<u64>();
    // SAFETY: the kernel's sigset of 8 bytes.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            old,
            8,
        )
    })?;
    Ok(())
}

/// Ignores SIGCHLD: the kernel then reaps this process's children, adopted ones too. wait(2).
pub fn ignore_sigchld() -> io::Result<()> {
    let ignore = [libc::SIG_IGN as u64, 0, 0, 0];
    let old = std::ptr::null::<u64>();
    // SAFETY: the kernel's sigaction of 32 bytes: SIG_IGN, no flags, no mask.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            libc::SIGCHLD,
            ignore.as_ptr(),
            old,
            8,
        )
    })?;
    Ok(())
}

pub fn pause_forever() -> ! {
    loop {
        let none = std::ptr::null::<libc::c_void>();
        // SAFETY: ppoll(2) of nothing, for ever: null pointers and zeros are valid.
        unsafe { libc::syscall(libc::SYS_ppoll, none, 0, none, none, 0) };
    }
}

pub fn sleep(ms: u32) {
    let time = after(ms);
    let none = std::ptr::null::<libc::c_void>();
    // SAFETY: no pollfd, a valid time, no mask.
    unsafe { libc::syscall(libc::SYS_ppoll, none, 0, &raw const time, none, 0) };
}

fn after(ms: u32) -> libc::timespec {
    libc::timespec {
        tv_sec: (ms / 1000).into(),
        tv_nsec: (ms % 1000 * 1_000_000).into(),
    }
}

/// Returns true if `fd` is readable within `patience_ms`. One ppoll(2) on every architecture, and no allocation.
pub fn wait_readable(fd: BorrowedFd<'_>, patience_ms: Option<u32>) -> bool {
    let mut poll = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let time = patience_ms.map(after);
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let mask = std::ptr::null::<libc::c_void>();
    // SAFETY: one valid pollfd, a valid time or none, no mask.
    let ready = unsafe { libc::syscall(libc::SYS_ppoll, &raw mut poll, 1, time, mask, 0) };
    ready > 0
}

pub fn reset_umask_and_personality() -> io::Result<()> {
    // SAFETY: an integer; cannot fail.
    unsafe { libc::umask(0o022) };
    // SAFETY: an integer.
    check(unsafe { libc::personality(0) }.into())?;
    Ok(())
}

pub fn reset_scheduling() -> io::Result<()> {
    let param = libc::sched_param { sched_priority: 0 };
    // SAFETY: a valid parameter block, for this process.
    let r = unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const param) };
    check(r.into())?;
    // SAFETY: integers only.
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 0) }.into())?;
    // SAFETY: integers only: IOPRIO_WHO_PROCESS, this process, IOPRIO_CLASS_NONE.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, 1, 0, 0) })?;
    let all = [u64::MAX; 128];
    // SAFETY: a valid mask of its size. The kernel ignores CPUs that do not exist.
    let r = unsafe {
        libc::syscall(
            libc::SYS_sched_setaffinity,
            0,
            size_of_val(&all),
            &raw const all,
        )
    };
    check(r)?;
    // SAFETY: integers only; 0 is the default slack.
    check(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 0) }.into())?;
    Ok(())
}

pub fn set_limit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: soft,
        rlim_max: hard,
    };
    let old = std::ptr::null_mut::<libc::rlimit>();
    // SAFETY: valid for the call; pid 0 is this process.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const limit, old) })?;
    Ok(())
}

pub fn limit(resource: u32) -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let new = std::ptr::null::<libc::rlimit>();
    // SAFETY: valid for the call; pid 0 is this process.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, new, &raw mut limit) })?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

pub fn set_name(name: &CStr) -> io::Result<()> {
    // SAFETY: a NUL-terminated string.
    check(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) }.into())?;
    Ok(())
}

/// Returns true if a process, or a zombie, has this real uid. For uid 0 it looks for the caller's. getpriority(2).
pub fn has_processes(uid: u32) -> io::Result<bool> {
    // SAFETY: integers only.
    let answer = unsafe { libc::syscall(libc::SYS_getpriority, libc::PRIO_USER, uid) };
    match check(answer) {
        Ok(_) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(false),
        Err(e) => Err(e),
    }
}

pub fn entries(dir: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    let fd = dir.as_raw_fd();
    // SAFETY: the descriptor is open and the buffer is valid for its length.
    let n = unsafe { libc::syscall(libc::SYS_getdents64, fd, buf.as_mut_ptr(), buf.len()) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}
