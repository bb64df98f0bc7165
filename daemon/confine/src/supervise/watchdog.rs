//! The watchdog: a process without rights that ends all jobs when the warden has ended. It pulls the switch:
//! `cgroup.kill` above all jobs' cgroups. Workers do the same, and so does the warden when the watchdog dies.

use crate::spawner::family::shutdown::leave;
use crate::spec::kernel::fork_call;
use crate::steps::seccomp;
use crate::supervise::task_count::set_limits;
use crate::sys;
use crate::{Error, Family, Switch};
use remit_spawn::ResourceLimit;
use remit_sys::rights::{become_unprivileged, drop_all_rights, is_unprivileged};
use remit_sys::{Doing, Result};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

#[derive(Debug)]
pub struct Watchdog {
    pid: i32,
    pidfd: OwnedFd,
}

const WATCHDOG_CALLS: &[libc::c_long] = &[
    libc::SYS_write,
    libc::SYS_close_range,
    libc::SYS_ppoll,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_exit_group,
];

pub(crate) const INIT_CALLS: &[libc::c_long] = WATCHDOG_CALLS;

const WARDEN: i32 = 0;
const SWITCH: i32 = 1;
const REPORT: i32 = 2;

/// Pulls, and milliseconds between two: a child that joins its cgroup itself may come after the first one.
const PULLS: u32 = 5;
const BETWEEN_MS: u32 = 20;

impl Watchdog {
    /// Forks the process, which becomes `uid`, `gid` without groups or capabilities. Waits until it watches.
    pub fn start(uid: u32, gid: u32, switch: BorrowedFd<'_>, family: &Family) -> Result<Watchdog> {
        let doing = || "cannot start the watchdog".into();
        let call = fork_call()?;
        let filter = seccomp::only(WATCHDOG_CALLS)?;
        let (ready, report) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).doing(doing)?;
        let descriptors = [family.pidfd(), switch, report.as_fd()];
        let child = || match confine_watchdog(uid, gid, descriptors, filter.instructions()) {
            Ok(()) => watch(),
            Err(_) => 1,
        };
        let (pid, pidfd) = family.fork(call, None, child).doing(doing)?;
        drop(report);
        let watchdog = Watchdog { pid, pidfd };
        let mut byte = [0];
        match sys::read(ready.as_fd(), &mut byte).doing(doing)? {
            // The end follows: it has closed all that it no longer needs.
            1 => sys::read(ready.as_fd(), &mut byte)
                .doing(doing)
                .map(|_| watchdog),
            _ => {
                leave(pid);
                Err(Error::refused(
                    "cannot start the watchdog",
                    "it could not confine itself",
                ))
            }
        }
    }

    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    pub fn into_parts(self) -> (i32, OwnedFd) {
        (self.pid, self.pidfd)
    }
}

fn watch() -> i32 {
    let (warden, switch) = (sys::borrowed(WARDEN), sys::borrowed(SWITCH));
    while !sys::wait_readable(warden, None) {}
    pull(switch);
    0
}

pub fn pull(switch: BorrowedFd<'_>) {
    for _ in 0..PULLS {
        // The directory is gone: the next daemon has seen it empty and removed it.
        if sys::write(switch, Switch::PULL).is_err() {
            return;
        }
        sys::sleep(BETWEEN_MS);
    }
}

/// Drops every right. Unlike other processes it gets no death signal, because its work begins when its parent dies.
fn confine_watchdog(
    uid: u32,
    gid: u32,
    descriptors: [BorrowedFd<'_>; 3],
    filter: &[libc::sock_filter],
) -> std::io::Result<()> {
    begin(c"remit-watchdog")?;
    let mut copies = descriptors;
    for fd in &mut copies {
        *fd = sys::copy_above(*fd, 16)?;
    }
    for (copy, at) in copies.into_iter().zip([WARDEN, SWITCH, REPORT]) {
        sys::renumber(copy, at)?;
    }
    sys::close_from(REPORT + 1)?;
    sys::change_dir(c"/")?;
    sys::drop_bounding()?;
    become_unprivileged(uid, gid, &[])?;
    is_unprivileged(uid, gid)?;
    // ppoll(2) takes no more descriptors than the limit allows. Numbers 0 and 1 are in use, so nothing can be opened.
    zero_limits(1)?;
    sys::no_new_privs()?;
    sys::install_filter(filter)?;
    sys::write(sys::borrowed(REPORT), &[1])?;
    sys::close_from(REPORT)
}

/// Begins a process of the daemon that executes nothing. It ignores SIGCHLD, so the kernel reaps for it (wait(2)).
fn begin(name: &CStr) -> std::io::Result<()> {
    sys::new_session()?;
    sys::default_signals()?;
    sys::ignore_sigchld()?;
    sys::reset_umask_and_personality()?;
    sys::set_name(name)
}

/// Confines an init before it is ready: identity, then its layers. It ends with `warden`, its parent. No allocation. Without
/// `limits` it has the lowest.
pub(crate) fn confine_init(
    uid: u32,
    gid: u32,
    limits: &[ResourceLimit],
    warden: &OwnedFd,
    report: &OwnedFd,
    filter: &[libc::sock_filter],
) -> std::io::Result<()> {
    begin(c"remit-init")?;
    let warden = sys::copy_above(warden.as_fd(), 16)?;
    let report = sys::copy_above(report.as_fd(), 16)?;
    sys::renumber(warden, 0)?;
    sys::renumber(report, 1)?;
    sys::close_from(2)?;
    sys::change_dir(c"/")?;
    set_limits(limits, 0)?;
    drop_all_rights(uid, gid, &[])?;
    if !sys::pidfd_alive(sys::borrowed(0))? {
        return Err(std::io::ErrorKind::NotFound.into());
    }
    if limits.is_empty() {
        zero_limits(0)?;
    }
    sys::no_new_privs()?;
    sys::install_filter(filter)?;
    sys::write(sys::borrowed(1), &[1])?;
    sys::close_from(0)
}

pub(crate) fn zero_limits(descriptors: u64) -> std::io::Result<()> {
    sys::set_limit(libc::RLIMIT_NOFILE, descriptors, descriptors)?;
    for resource in [libc::RLIMIT_FSIZE, libc::RLIMIT_MEMLOCK, libc::RLIMIT_CORE] {
        sys::set_limit(resource, 0, 0)?;
    }
    Ok(())
}
