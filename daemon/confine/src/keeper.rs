//! The keeper: a process without rights that ends all jobs when the warden dies.
//!
//! It watches the warden and pulls the switch (`cgroup.kill` of the directory above all jobs'
//! cgroups) when that has ended. It does nothing else. Each zygote does the same beside its work,
//! so that any one of the three that is left ends all jobs: the warden does, when the keeper dies.

use crate::cgroup::Switch;
use crate::error::{Doing, Result};
use crate::floor;
use crate::{Error, kernel, seccomp};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The process. When it has died, start another one.
#[derive(Debug)]
pub struct Keeper {
    pid: i32,
    pidfd: OwnedFd,
}

/// All that the keeper needs once its filter stands: say so, close, wait, pull the switch, end.
const KEEPER_CALLS: &[libc::c_long] = &[
    libc::SYS_write,
    libc::SYS_close_range,
    libc::SYS_ppoll,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_exit_group,
];

/// All that an init needs that only sleeps.
pub(crate) const INIT_CALLS: &[libc::c_long] = KEEPER_CALLS;

/// Where the keeper has the warden's pidfd, the switch, and what it says by that it is there.
const WARDEN: i32 = 0;
const SWITCH: i32 = 1;
const TOLD: i32 = 2;

/// Pulls of the switch, and milliseconds between two. One ends all that is in the cgroups by then. A
/// child that joins its cgroup by itself, as where clone3 is refused, may come a moment later.
const PULLS: u32 = 5;
const BETWEEN_MS: u32 = 20;

impl Keeper {
    /// Forks the keeper, which becomes `uid`, `gid` without groups or capabilities. Waits until it
    /// watches, well under a millisecond.
    pub fn start(uid: u32, gid: u32, switch: &Switch) -> Result<Keeper> {
        let doing = || "cannot start the keeper".into();
        let call = kernel::fork_call()?;
        let warden = floor::pidfd_open(std::process::id() as i32).doing(doing)?;
        let filter = seccomp::only(KEEPER_CALLS)?;
        let (ready, told) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).doing(doing)?;
        let places = [warden.as_fd(), switch.as_fd(), told.as_fd()];
        let child = || match settle_keeper(uid, gid, places, filter.instructions()) {
            Ok(()) => watch(),
            Err(_) => 1,
        };
        let (pid, pidfd) = floor::fork(call, None, child).doing(doing)?;
        drop(told);
        let keeper = Keeper { pid, pidfd };
        let mut byte = [0];
        match floor::read(ready.as_fd(), &mut byte).doing(doing)? {
            // Then the end: it has closed all that it needs no more.
            1 => floor::read(ready.as_fd(), &mut byte)
                .doing(doing)
                .map(|_| keeper),
            _ => {
                let _ = floor::wait(pid, 0);
                Err(Error::refused(
                    "cannot start the keeper",
                    "it could not confine itself",
                ))
            }
        }
    }

    /// Readable when the keeper has died.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Its pid; to be reaped by the warden.
    pub fn pid(&self) -> i32 {
        self.pid
    }
}

/// The keeper's life, once it is settled. It must outlive the warden, so nothing else ends it.
fn watch() -> i32 {
    let (warden, switch) = (floor::placed(WARDEN), floor::placed(SWITCH));
    while !floor::wait_readable(warden, None) {}
    pull(switch);
    0
}

/// Pulls the switch for as long as there may be a job that is still on its way into its cgroup.
pub(crate) fn pull(switch: BorrowedFd<'_>) {
    for _ in 0..PULLS {
        // The directory is gone: the next daemon has seen it empty and removed it.
        if floor::write(switch, Switch::PULL).is_err() {
            return;
        }
        floor::sleep(BETWEEN_MS);
    }
}

/// Takes every right away. Unlike other processes of the daemon the keeper gets no death signal: it
/// has work to do when its parent dies.
fn settle_keeper(
    uid: u32,
    gid: u32,
    places: [BorrowedFd<'_>; 3],
    filter: &[libc::sock_filter],
) -> std::io::Result<()> {
    begin(c"remit-keeper")?;
    let mut copies = places;
    for place in &mut copies {
        *place = floor::copy_above(*place, 16)?;
    }
    for (copy, at) in copies.into_iter().zip([WARDEN, SWITCH, TOLD]) {
        floor::place(copy, at)?;
    }
    floor::close_from(TOLD + 1)?;
    floor::change_dir(c"/")?;
    floor::drop_bounding()?;
    shed(uid, gid, &[])?;
    is_shed(uid, gid)?;
    // ppoll(2) looks at no more descriptors than the limit allows; both numbers below are in use.
    make_nothing(1)?;
    floor::no_new_privs()?;
    floor::install_filter(filter)?;
    floor::write(floor::placed(TOLD), &[1])?;
    floor::close_from(TOLD)
}

/// How a process of the daemon begins that executes nothing. The kernel reaps for it, since it ignores SIGCHLD
/// (wait(2)).
fn begin(name: &CStr) -> std::io::Result<()> {
    floor::new_session()?;
    floor::default_signals()?;
    floor::leave_no_zombies()?;
    floor::plain_manners()?;
    floor::set_name(name)
}

/// What an init does before it says that it is there: identity, then its own walls. It lives no longer
/// than `warden`, which has forked it. No allocation.
pub(crate) fn settle(
    name: &CStr,
    uid: u32,
    gid: u32,
    warden: &OwnedFd,
    told: &OwnedFd,
    filter: &[libc::sock_filter],
) -> std::io::Result<()> {
    begin(name)?;
    let warden = floor::copy_above(warden.as_fd(), 16)?;
    let told = floor::copy_above(told.as_fd(), 16)?;
    floor::place(warden, 0)?;
    floor::place(told, 1)?;
    floor::close_from(2)?;
    floor::change_dir(c"/")?;
    become_nobody(uid, gid, &[])?;
    if !floor::pidfd_alive(floor::placed(0))? {
        return Err(std::io::ErrorKind::NotFound.into());
    }
    make_nothing(0)?;
    floor::no_new_privs()?;
    floor::install_filter(filter)?;
    floor::write(floor::placed(1), &[1])?;
    floor::close_from(0)
}

/// No descriptor from `descriptors` on, no file, no locked memory, no core for this process.
pub(crate) fn make_nothing(descriptors: u64) -> std::io::Result<()> {
    floor::set_limit(libc::RLIMIT_NOFILE, descriptors, descriptors)?;
    for resource in [libc::RLIMIT_FSIZE, libc::RLIMIT_MEMLOCK, libc::RLIMIT_CORE] {
        floor::set_limit(resource, 0, 0)?;
    }
    Ok(())
}

/// The identity without a single right, dying with its parent. In the order that the kernel
/// forces: what needs `CAP_SETPCAP` first, the death signal last.
pub(crate) fn become_nobody(uid: u32, gid: u32, groups: &[u32]) -> std::io::Result<()> {
    floor::drop_bounding()?;
    become_nobody_bounded(uid, gid, groups)
}

/// The same for a process that was born with an empty bounding set: that never grows. capabilities(7).
pub(crate) fn become_nobody_bounded(uid: u32, gid: u32, groups: &[u32]) -> std::io::Result<()> {
    shed(uid, gid, groups)?;
    floor::die_with_parent()?;
    is_shed(uid, gid)
}

fn shed(uid: u32, gid: u32, groups: &[u32]) -> std::io::Result<()> {
    floor::lock_securebits()?;
    floor::become_user(uid, gid, groups)?;
    floor::clear_capabilities()?;
    floor::set_dumpable(false)
}

fn is_shed(uid: u32, gid: u32) -> std::io::Result<()> {
    match floor::is_user(uid, gid) && floor::has_no_capability()? && floor::securebits_locked() {
        true => Ok(()),
        false => Err(std::io::Error::from_raw_os_error(libc::EPERM)),
    }
}
