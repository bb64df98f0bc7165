//! The jobs' pid namespace and its init, the keeper.
//!
//! It reaps and does nothing else. When it dies, the kernel kills every job; when the warden
//! dies, the kernel kills the keeper.

use crate::error::{Doing, Result};
use crate::floor::{self, ForkCall, Parent};
use crate::pids::{self, LastPid};
use crate::{Error, kernel, seccomp};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The init of the jobs' pid namespace. When it has died, start another one.
#[derive(Debug)]
pub struct Keeper {
    pid: i32,
    pidfd: OwnedFd,
    jobs: OwnedFd,
    own: OwnedFd,
    last_pid: Option<LastPid>,
}

const PIDS: i32 = libc::CLONE_NEWPID;

/// All that the keeper needs once its filter stands: say so, close, sleep.
pub(crate) const KEEPER_CALLS: &[libc::c_long] = &[
    libc::SYS_write,
    libc::SYS_close_range,
    libc::SYS_ppoll,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_exit_group,
];

impl Keeper {
    /// Forks the keeper, which becomes `uid`, `gid` without groups or capabilities. This
    /// process and its other children stay in their own namespace. Waits until the keeper is
    /// in place, well under a millisecond.
    pub fn start(uid: u32, gid: u32) -> Result<Keeper> {
        let doing = || "cannot start the keeper".into();
        let call = kernel::fork_call()?;
        let own = floor::open(c"/proc/self/ns/pid", libc::O_RDONLY).doing(doing)?;
        let warden = floor::pidfd_open(std::process::id() as i32).doing(doing)?;
        let filter = seccomp::only(KEEPER_CALLS)?;
        let (ready, told) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).doing(doing)?;
        floor::new_pids_for_children().doing(|| "cannot make the jobs' pid namespace".into())?;
        let child = || match settle(
            c"remit-keeper",
            uid,
            gid,
            &warden,
            &told,
            filter.instructions(),
        ) {
            Ok(()) => floor::pause_for_ever(),
            Err(_) => 1,
        };
        let forked = floor::fork(call, None, child);
        let jobs = floor::open(c"/proc/thread-self/ns/pid_for_children", libc::O_RDONLY);
        floor::set_namespace(own.as_fd(), PIDS)
            .doing(|| "cannot return to the own pid namespace".into())?;
        let (pid, pidfd) = forked.doing(doing)?;
        drop(told);
        let keeper = Keeper {
            pid,
            pidfd,
            jobs: jobs.doing(doing)?,
            own,
            last_pid: LastPid::open(),
        };
        let mut byte = [0];
        match floor::read(ready.as_fd(), &mut byte).doing(doing)? {
            // Then the end: it has closed all it had.
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

    /// Readable when the keeper has died, which the kernel completes only when the jobs it killed
    /// are reaped: each by the process that spawned it. pid_namespaces(7).
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Its pid, as the warden sees it; to be reaped by the warden.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The jobs' pid namespace.
    pub(crate) fn namespace(&self) -> BorrowedFd<'_> {
        self.jobs.as_fd()
    }

    /// Forks into the jobs' namespace. Whatever happens, later children of this process are
    /// not in there; if that cannot be, the child is killed.
    pub(crate) fn fork(
        &self,
        call: ForkCall,
        cgroup: Option<BorrowedFd<'_>>,
        child: impl FnOnce() -> i32,
    ) -> Result<(i32, OwnedFd)> {
        floor::set_namespace(self.jobs.as_fd(), PIDS)
            .doing(|| "cannot enter the jobs' pid namespace".into())?;
        let last_pid = self.last_pid.as_ref();
        let forked = pids::fork_in_step(last_pid, call, cgroup, Parent::Caller, child);
        let back = floor::set_namespace(self.own.as_fd(), PIDS);
        if let (Err(_), Ok((_, pidfd))) = (&back, &forked) {
            let _ = floor::pidfd_send_signal(pidfd, libc::SIGKILL);
        }
        back.doing(|| "cannot return to the own pid namespace".into())?;
        forked.doing(|| "cannot fork into the jobs' pid namespace".into())
    }
}

/// What an init does before it says that it is there: identity, then its own walls. The
/// kernel reaps for it, since it ignores SIGCHLD (wait(2)). It lives no longer than `warden`, which
/// has forked it. No allocation.
pub(crate) fn settle(
    name: &CStr,
    uid: u32,
    gid: u32,
    warden: &OwnedFd,
    told: &OwnedFd,
    filter: &[libc::sock_filter],
) -> std::io::Result<()> {
    floor::new_session()?;
    floor::default_signals()?;
    floor::leave_no_zombies()?;
    floor::plain_manners()?;
    floor::set_name(name)?;
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
    make_nothing()?;
    floor::no_new_privs()?;
    floor::install_filter(filter)?;
    floor::write(floor::placed(1), &[1])?;
    floor::close_from(0)
}

/// No further descriptor, no file, no locked memory, no core for this process.
pub(crate) fn make_nothing() -> std::io::Result<()> {
    for resource in [
        libc::RLIMIT_NOFILE,
        libc::RLIMIT_FSIZE,
        libc::RLIMIT_MEMLOCK,
        libc::RLIMIT_CORE,
    ] {
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
    floor::lock_securebits()?;
    floor::become_user(uid, gid, groups)?;
    floor::clear_capabilities()?;
    floor::set_dumpable(false)?;
    floor::die_with_parent()?;
    let settled =
        floor::is_user(uid, gid) && floor::has_no_capability()? && floor::securebits_locked();
    if settled {
        Ok(())
    } else {
        Err(std::io::Error::from_raw_os_error(libc::EPERM))
    }
}
