//! Attacks on processes outside the sandbox. A victim found by pid has another uid, one found by file the same uid.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;

use super::REFUSED;
use super::raw::{sys, zeroed};
use super::{Attack, Expect, Refused, Tried, argument, attack, number, passed_the_check};
use super::{NO_ACCESS, NOTHING_THERE, READ_ONLY};

#[rustfmt::skip] // a table, one row a line
pub const ATTACKS: &[Attack] = &[
    attack("kill", "identity", REFUSED, "kill a process", kill),
    attack("kill-group", "identity", REFUSED, "kill a process group", kill_group),
    attack("tgkill", "identity", REFUSED, "kill a thread", tgkill),
    attack("sigqueue", "identity", REFUSED, "queue a signal to a process", sigqueue),
    attack("kill-all", "identity", Expect::NoEffect, "kill every process of its uid", kill_all),
    attack("pidfd-signal", "identity", REFUSED, "kill a process through a pidfd", pidfd_signal),
    attack("pidfd-proc", "identity", REFUSED, "kill a process through its directory in /proc", pidfd_proc),
    attack("setown", "seccomp_locks", NOTHING_THERE, "have the kernel send a signal for it (F_SETOWN)", setown),
    attack("setpriority", "identity", REFUSED, "slow a process down", setpriority),
    attack("setpriority-user", "identity", Expect::NoEffect, "slow every process of its uid down", setpriority_user),
    attack("ioprio", "identity", REFUSED, "change the disk priority of a process", ioprio),
    attack("disk-priority", "seccomp_refused", Expect::Errno(libc::EALREADY), "have its requests to the disks go first", disk_priority),
    attack("foreign-timer", "seccomp_refused", NOTHING_THERE, "time the processor time of another process, under the lock of its signals", foreign_timer),
    attack("foreign-sleep", "seccomp_refused", NOTHING_THERE, "the same by a sleep", foreign_sleep),
    attack("core-scheduling", "seccomp_refused", NOTHING_THERE, "keep others from the sibling of its processor", core_scheduling).absent(&[libc::EINVAL]),
    attack("ioprio-user", "identity", Expect::NoEffect, "change the disk priority of every process of its uid", ioprio_user),
    attack("prlimit", "identity", REFUSED, "limit a process", prlimit),
    attack("sched", "identity", REFUSED, "change how a process is scheduled", sched),
    attack("affinity", "identity", REFUSED, "bind a process to one processor", affinity),
    attack("proc-root", "landlock", NO_ACCESS, "write a file through /proc/PID/root", through).without_landlock(Expect::Done),
    attack("proc-cwd", "landlock", NO_ACCESS, "write a file through /proc/PID/cwd", through).without_landlock(Expect::Done),
    attack("proc-fd", "landlock", NO_ACCESS, "write a file that a process has open", through).without_landlock(Expect::Done),
    attack("proc-environ", "landlock", NO_ACCESS, "read the environment of a process", read).without_landlock(Expect::Done),
    attack("proc-mem", "read_only_mounts", READ_ONLY, "open the memory of a process for writing", open_both),
    attack("proc-oom", "read_only_mounts", READ_ONLY, "make the kernel prefer a process as a victim", proc_oom),
    attack("ptrace", "seccomp_refused", REFUSED, "trace a process", ptrace),
    attack("vm-readv", "seccomp_refused", REFUSED, "read the memory of a process", vm_readv),
    attack("vm-writev", "seccomp_refused", REFUSED, "write into the memory of a process", vm_writev),
    attack("pidfd-getfd", "seccomp_refused", REFUSED, "take a descriptor out of a process", pidfd_getfd),
    attack("kill-watchdog", "identity", REFUSED, "kill process 1", kill_watchdog).impossible("pid 1 is another process outside"),
];

fn kill(arguments: &[String]) -> Tried {
    sys!(libc::SYS_kill, number(arguments, 0), libc::SIGKILL)?;
    Ok("killed".into())
}

fn kill_group(arguments: &[String]) -> Tried {
    sys!(libc::SYS_kill, -number(arguments, 0), libc::SIGKILL)?;
    Ok("killed".into())
}

fn tgkill(arguments: &[String]) -> Tried {
    let victim = number(arguments, 0);
    sys!(libc::SYS_tgkill, victim, victim, libc::SIGKILL)?;
    Ok("killed".into())
}

fn sigqueue(arguments: &[String]) -> Tried {
    // si_signo, si_errno, si_code. A process may only send SI_QUEUE (-1) to others.
    let mut info = [0_i32; 32];
    info[0] = libc::SIGKILL;
    info[2] = -1;
    sys!(
        libc::SYS_rt_sigqueueinfo,
        number(arguments, 0),
        libc::SIGKILL,
        info.as_ptr()
    )?;
    Ok("killed".into())
}

/// Success does not mean that a process was killed: kill(2) also succeeds if there are others but none may be killed.
fn kill_all(_: &[String]) -> Tried {
    let killed = || Ok(sys!(libc::SYS_kill, -1, libc::SIGKILL)?);
    match killed() {
        Err(Refused(libc::ESRCH)) => Ok("nobody is there".into()),
        Err(refused) => Err(refused),
        Ok(_) => Ok("killed, or nobody could be".into()),
    }
}

fn pidfd_signal(arguments: &[String]) -> Tried {
    let pidfd = sys!(libc::SYS_pidfd_open, number(arguments, 0), 0)?;
    sys!(libc::SYS_pidfd_send_signal, pidfd, libc::SIGKILL, 0, 0)?;
    Ok("killed".into())
}

/// A descriptor of /proc/PID works as a pidfd, and /proc is the host's.
fn pidfd_proc(arguments: &[String]) -> Tried {
    let directory = File::open(format!("/proc/{}", argument(arguments, 0)))?;
    sys!(
        libc::SYS_pidfd_send_signal,
        directory.as_raw_fd(),
        libc::SIGKILL,
        0,
        0
    )?;
    Ok("killed".into())
}

fn setown(arguments: &[String]) -> Tried {
    let mut ends = [0_i32; 2];
    sys!(libc::SYS_pipe2, ends.as_mut_ptr(), 0)?;
    let [read, write] = ends;
    sys!(libc::SYS_fcntl, read, libc::F_SETOWN, number(arguments, 0))?;
    sys!(libc::SYS_fcntl, read, 10 /* F_SETSIG */, libc::SIGKILL)?;
    sys!(libc::SYS_fcntl, read, libc::F_SETFL, libc::O_ASYNC)?;
    sys!(libc::SYS_write, write, b"x".as_ptr(), 1)?;
    Ok("killed".into())
}

fn setpriority(arguments: &[String]) -> Tried {
    sys!(
        libc::SYS_setpriority,
        libc::PRIO_PROCESS,
        number(arguments, 0),
        19
    )?;
    Ok("slowed down".into())
}

fn setpriority_user(_: &[String]) -> Tried {
    let uid = sys!(libc::SYS_getuid)?;
    sys!(libc::SYS_setpriority, libc::PRIO_USER, uid, 19)?;
    Ok("slowed down".into())
}

fn ioprio(arguments: &[String]) -> Tried {
    const IOPRIO_PROCESS: i32 = 1;
    const CLASS_IDLE: i32 = 3 << 13;
    sys!(
        libc::SYS_ioprio_set,
        IOPRIO_PROCESS,
        number(arguments, 0),
        CLASS_IDLE
    )?;
    Ok("slowed down".into())
}

fn ioprio_user(_: &[String]) -> Tried {
    const IOPRIO_USER: i32 = 3;
    const CLASS_IDLE: i32 = 3 << 13;
    let uid = sys!(libc::SYS_getuid)?;
    sys!(libc::SYS_ioprio_set, IOPRIO_USER, uid, CLASS_IDLE)?;
    Ok("slowed down".into())
}

/// IOPRIO_CLASS_BE, level 0.
fn disk_priority(_: &[String]) -> Tried {
    const IOPRIO_PROCESS: i32 = 1;
    const FIRST: usize = 2 << 13;
    sys!(libc::SYS_ioprio_set, IOPRIO_PROCESS, 0, FIRST)?;
    match sys!(libc::SYS_ioprio_get, IOPRIO_PROCESS, 0)? {
        FIRST => Ok("goes first".into()),
        _ => Err(Refused(libc::EALREADY)),
    }
}

/// Returns the clock of a process's processor time. clock_getcpuclockid(3)
fn clock_of(pid: i32) -> i32 {
    const SCHED: i32 = 2;
    (!pid << 3) | SCHED
}

fn foreign_timer(arguments: &[String]) -> Tried {
    let clock = clock_of(number(arguments, 0));
    // `struct sigevent`: the signal is none.
    let mut event = [0_i32; 16];
    event[3] = libc::SIGEV_NONE;
    let mut timer = 0_i32;
    sys!(
        libc::SYS_timer_create,
        clock,
        event.as_ptr(),
        &raw mut timer
    )?;
    Ok("made".into())
}

/// The victim sleeps, so its clock does too: the time to wake up at is over.
fn foreign_sleep(arguments: &[String]) -> Tried {
    let clock = clock_of(number(arguments, 0));
    let past = libc::timespec {
        tv_sec: 0,
        tv_nsec: 1,
    };
    sys!(
        libc::SYS_clock_nanosleep,
        clock,
        libc::TIMER_ABSTIME,
        &raw const past,
        0
    )?;
    Ok("slept".into())
}

/// PR_SCHED_CORE_CREATE for itself. ENODEV: the processor has no siblings.
fn core_scheduling(_: &[String]) -> Tried {
    const PR_SCHED_CORE: i32 = 62;
    const CREATE: i32 = 1;
    let made = sys!(libc::SYS_prctl, PR_SCHED_CORE, CREATE, 0, 0, 0);
    passed_the_check(made, &[libc::ENODEV])
}

fn prlimit(arguments: &[String]) -> Tried {
    let limit = libc::rlimit {
        rlim_cur: 3,
        rlim_max: 3,
    };
    sys!(
        libc::SYS_prlimit64,
        number(arguments, 0),
        libc::RLIMIT_NOFILE,
        &raw const limit,
        0
    )?;
    Ok("limited".into())
}

fn sched(arguments: &[String]) -> Tried {
    let parameters: libc::sched_param = zeroed();
    sys!(
        libc::SYS_sched_setscheduler,
        number(arguments, 0),
        libc::SCHED_IDLE,
        &raw const parameters
    )?;
    Ok("slowed down".into())
}

fn affinity(arguments: &[String]) -> Tried {
    let first = [1_u64; 1];
    sys!(
        libc::SYS_sched_setaffinity,
        number(arguments, 0),
        8,
        first.as_ptr()
    )?;
    Ok("bound".into())
}

fn through(arguments: &[String]) -> Tried {
    let mut file = OpenOptions::new()
        .write(true)
        .open(argument(arguments, 0))?;
    file.write_all(b"attacked\n")?;
    Ok("written".into())
}

fn read(arguments: &[String]) -> Tried {
    let content = fs::read(argument(arguments, 0))?;
    Ok(format!("read {} bytes", content.len()))
}

fn open_both(arguments: &[String]) -> Tried {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(argument(arguments, 0))?;
    Ok("opened".into())
}

fn proc_oom(arguments: &[String]) -> Tried {
    fs::write(argument(arguments, 0), "1000")?;
    Ok("written".into())
}

fn ptrace(arguments: &[String]) -> Tried {
    const SEIZE: i32 = 0x4206;
    sys!(libc::SYS_ptrace, SEIZE, number(arguments, 0), 0, 0)?;
    Ok("traced".into())
}

fn first_mapping(pid: i32) -> Result<usize, Refused> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let start = maps.split('-').next().unwrap_or_default();
    usize::from_str_radix(start, 16).map_err(|_| Refused(libc::ESRCH))
}

/// The call itself must be refused, so an unreadable address does not prevent the test.
fn vm_readv(arguments: &[String]) -> Tried {
    let victim = number(arguments, 0);
    let mut byte = 0_u8;
    let local = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let remote = libc::iovec {
        iov_base: first_mapping(victim).unwrap_or(0) as *mut _,
        iov_len: 1,
    };
    sys!(
        libc::SYS_process_vm_readv,
        victim,
        &raw const local,
        1,
        &raw const remote,
        1,
        0
    )?;
    Ok("read".into())
}

/// Writes nothing into the victim: the address is invalid, which the kernel notices after the permission check.
fn vm_writev(arguments: &[String]) -> Tried {
    let mut byte = 0_u8;
    let local = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let remote = libc::iovec {
        iov_base: 16 as *mut _,
        iov_len: 1,
    };
    let result = sys!(
        libc::SYS_process_vm_writev,
        number(arguments, 0),
        &raw const local,
        1,
        &raw const remote,
        1,
        0
    );
    passed_the_check(result, &[libc::EFAULT])
}

/// Uses a pidfd of itself if the victim's is refused, because the call itself must be refused.
fn pidfd_getfd(arguments: &[String]) -> Tried {
    let victim = sys!(libc::SYS_pidfd_open, number(arguments, 0), 0);
    let pidfd = victim.or_else(|_| sys!(libc::SYS_pidfd_open, std::process::id(), 0))?;
    sys!(libc::SYS_pidfd_getfd, pidfd, 1, 0)?;
    Ok("taken".into())
}

fn kill_watchdog(_: &[String]) -> Tried {
    sys!(libc::SYS_kill, 1, libc::SIGKILL)?;
    Ok("killed".into())
}
