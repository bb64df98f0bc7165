//! A pid namespace for one job, though the warden knows the job's end.
//!
//! The process that the warden has forked becomes the monitor. It forks an init for the new
//! namespace and then the job, which is process 2 there. Init only reaps; when it dies the kernel
//! kills all that is left of the job. The monitor waits for the job, kills init, waits for that
//! too, and ends as the job did: so when the warden sees it end, nothing of the job lives.
//!
//! Neither of them has a right, and both stand outside what the job can reach: the monitor in the
//! namespace above, init behind the kernel's care for process 1. The job executes nothing before
//! both are confined. The monitor blocks every signal: one for the process group is meant for the
//! job, which is in the same. So to itself the job's group and session have the number 0, being led
//! from outside, and a job that makes a group of its own hears no stop but the last.
//!
//! When the monitor is killed, init dies with it, and so does the job. The kill of the job's cgroup ends
//! all of them.

use crate::floor::{self, ForkCall};
use crate::keeper::{INIT_CALLS, become_nobody, make_nothing, settle};
use crate::net::Relay;
use crate::notes::Fault;
use crate::seccomp::{self, Program};
use crate::{Result, Wall, wall::Walls};
use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
};

/// Filters of the two, made once.
#[derive(Debug)]
pub(crate) struct Filters {
    monitor: Program,
    init: Program,
}

/// All that the monitor needs once its filter stands: let the job go, close, wait, kill, end.
const MONITOR_CALLS: &[libc::c_long] = &[
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_wait4,
    libc::SYS_kill,
    libc::SYS_getpid,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_exit_group,
];

/// Most System V message queues.
const QUEUES: &[u8] = b"64";

/// Of a job's uid: monitor, init and relay.
pub(crate) const PROCESSES: u64 = 3;

impl Filters {
    pub(crate) fn compile() -> Result<Filters> {
        Ok(Filters {
            monitor: seccomp::only(MONITOR_CALLS)?,
            init: seccomp::only(INIT_CALLS)?,
        })
    }
}

/// Who the monitor is, and what it has.
pub(crate) struct Monitor<'a> {
    pub(crate) filters: &'a Filters,
    pub(crate) walls: Walls,
    pub(crate) call: ForkCall,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Pages of System V shared memory, as text.
    pub(crate) shared_pages: &'a CStr,
    /// Gets a byte when all is there that a job needs, the job's own process too: where that is forked ahead.
    pub(crate) hello: Option<BorrowedFd<'a>>,
}

/// What a job waits for before it executes.
pub(crate) struct Go {
    go: OwnedFd,
    /// To be told that the job's process is ready, where the monitor wants to know.
    told: Option<OwnedFd>,
}

impl Go {
    /// Waits until monitor and init are confined. Where that cannot be, the monitor has said so,
    /// and this process has nothing to say.
    pub(crate) fn wait(self) -> bool {
        let told = match &self.told {
            Some(told) => floor::write(told.as_fd(), &[1]),
            None => Ok(1),
        };
        drop(self.told);
        told.is_ok() && matches!(floor::read(self.go.as_fd(), &mut [0]), Ok(1))
    }
}

/// The namespaces of its own that a job gets here, besides its network and its pids.
fn kinds(walls: Walls) -> i32 {
    let flag = |wall, flag| if walls.up(wall) { flag } else { 0 };
    libc::CLONE_NEWNS
        | flag(Wall::IpcNamespace, libc::CLONE_NEWIPC)
        | flag(Wall::UtsNamespace, libc::CLONE_NEWUTS)
        | flag(Wall::CgroupNamespace, libc::CLONE_NEWCGROUP)
}

impl Monitor<'_> {
    /// Enters the namespaces. After it this process can still be where it was by its memory
    /// alone: it holds no descriptor of the namespaces before.
    pub(crate) fn enter(&self) -> io::Result<()> {
        let pids = match self.walls.up(Wall::PidNamespace) {
            true => libc::CLONE_NEWPID,
            false => 0,
        };
        floor::own_namespaces(kinds(self.walls) | pids)?;
        match self.walls.up(Wall::IpcNamespace) {
            true => self.bound_ipc(),
            false => Ok(()),
        }
    }

    /// In the new ipc namespace: no more shared memory than a private directory takes, since no
    /// resource limit counts it, and few queues. proc_sys_kernel(5).
    fn bound_ipc(&self) -> io::Result<()> {
        set(c"sys/kernel/shmall", self.shared_pages.to_bytes())?;
        set(c"sys/kernel/msgmni", QUEUES)
    }

    /// Forks init and `job`, and is the monitor of them to the end. Returns only what failed while
    /// `job` had not begun to execute; then it never does.
    pub(crate) fn watch(
        self,
        relay: Option<Relay>,
        job: impl FnOnce(Go) -> i32,
    ) -> std::result::Result<std::convert::Infallible, Fault> {
        // A stop that comes from here on is the job's affair.
        floor::block_signals(None)?;
        let (ready, told) = pipe()?;
        let (go, gone) = pipe()?;
        let init = match self.walls.up(Wall::PidNamespace) {
            true => Some(self.init(&told)?),
            false => None,
        };
        drop(told);
        let (stands, standing) = match self.hello {
            Some(_) => pipe().map(|(stands, told)| (Some(stands), Some(told)))?,
            None => (None, None),
        };
        let job = floor::fork(self.call, None, || {
            // The end of these pipes must be that of the monitor.
            floor::close_one(raw(&gone));
            floor::close_one(raw(&ready));
            if let Some(stands) = &stands {
                floor::close_one(raw(stands));
            }
            job(Go {
                go: floor::owned(raw(&go)),
                told: standing.as_ref().map(|told| floor::owned(raw(told))),
            })
        });
        drop((go, standing));
        let (job, _pidfd) = job.inspect_err(|_| end_init(init, None))?;
        let others = [
            init.map(|_| ready.as_fd()),
            stands.as_ref().map(AsFd::as_fd),
        ];
        if let Err(e) = self.confine(others) {
            // The job waits for this pipe, and ends with it.
            drop(gone);
            end_init(init, Some(job));
            return Err(e.into());
        }
        // A job that failed has said why, and waits no more.
        let _ = floor::write(gone.as_fd(), &[1]);
        if let Some(hello) = self.hello {
            let _ = floor::write(hello, &[1]);
        }
        // No destructor may run for descriptors that are closed by number.
        floor::exit(attend(init, job, relay))
    }

    fn init(&self, told: &OwnedFd) -> io::Result<i32> {
        let monitor = floor::pidfd_open(std::process::id().cast_signed())?;
        let filter = self.filters.init.instructions();
        let (uid, gid) = (self.uid, self.gid);
        let child = || match settle(c"remit-init", uid, gid, &monitor, told, filter) {
            Ok(()) => floor::pause_for_ever(),
            Err(_) => 1,
        };
        let (pid, _pidfd) = floor::fork(self.call, None, child)?;
        Ok(pid)
    }

    /// Gives up every right, and sees that init has too, and that the job's process is ready where that is
    /// asked for: each says so by a byte.
    fn confine(&self, others: [Option<BorrowedFd<'_>>; 2]) -> io::Result<()> {
        floor::set_name(c"remit-monitor")?;
        floor::change_dir(c"/")?;
        become_nobody(self.uid, self.gid, &[])?;
        make_nothing(0)?;
        for ready in others.into_iter().flatten() {
            if floor::read(ready, &mut [0])? != 1 {
                return Err(io::Error::from_raw_os_error(libc::ECHILD));
            }
        }
        floor::no_new_privs()?;
        floor::install_filter(self.filters.monitor.instructions())
    }
}

/// Writes a setting of this process's own namespaces. In a container `/proc/sys` is often
/// read-only: then by a `/proc` mounted for this descriptor alone. A kernel without the setting
/// has nothing to be bounded.
fn set(name: &CStr, value: &[u8]) -> io::Result<()> {
    let beneath = |proc: OwnedFd| floor::open_at(Some(proc.as_fd()), name, libc::O_WRONLY);
    let host = || beneath(floor::open(c"/proc", libc::O_PATH | libc::O_DIRECTORY)?);
    let own = || beneath(floor::detached_proc()?);
    match host().or_else(|_| own()) {
        Ok(file) => floor::write(file.as_fd(), value).map(drop),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// Waits for the job, ends what it left, and answers as it ended.
fn attend(init: Option<i32>, job: i32, relay: Option<Relay>) -> i32 {
    let _ = floor::close_from(0);
    let ended = wait(job);
    end_init(init, None);
    if let Some(relay) = relay {
        let _ = relay.finish();
    }
    end_as(ended)
}

fn wait(pid: i32) -> Option<ExitStatus> {
    floor::wait(pid, 0).ok().flatten().map(|(status, _)| status)
}

/// Kills init, and with it all that is left of the job. Returns when nothing is: a child of the
/// monitor in there has to be waited for before init can end. pid_namespaces(7).
fn end_init(init: Option<i32>, job: Option<i32>) {
    // One that still has more rights than the monitor is killed by the monitor's end.
    let killed = init.is_none_or(|pid| floor::kill(pid, libc::SIGKILL).is_ok());
    for pid in [job, init].into_iter().flatten() {
        if killed {
            wait(pid);
        }
    }
}

/// Exits with the job's status, or dies of the signal that it died of. Nothing here can dump core.
fn end_as(ended: Option<ExitStatus>) -> i32 {
    const UNKNOWN: i32 = 255;
    let Some(status) = ended else {
        return UNKNOWN;
    };
    if let Some(code) = status.code() {
        return code;
    }
    let signal = status.signal().unwrap_or(libc::SIGKILL);
    let _ = floor::block_signals(Some(signal));
    let _ = floor::kill(std::process::id().cast_signed(), signal);
    UNKNOWN
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?)
}

fn raw(fd: &OwnedFd) -> i32 {
    use std::os::fd::AsRawFd;
    fd.as_raw_fd()
}
