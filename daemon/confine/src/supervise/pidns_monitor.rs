//! Gives one job its own pid namespace, and still lets the warden know the job's end. The job's child becomes the
//! monitor. It forks an init for the new namespace and then the job, which is process 2 there. Init only reaps; when it
//! dies, the kernel kills all that is left of the job. The monitor waits for the job, kills init, waits for that, and
//! ends as the job did. So when the warden sees it end, nothing of the job lives. If it is killed, init dies with it.
//! Both are without rights. The job cannot name the monitor, which is in the namespace above, and the kernel protects
//! init as process 1. The job executes nothing before both are confined. The monitor blocks every signal: one for the
//! process group is meant for the job, which is in the same group. So without Landlock's scopes a job of the monitor's
//! uid can kill it by kill(0), and ends as killed. The job sees its own group and session as number 0, because they are
//! led from outside. A job that makes its own group gets no stop signal but the last.

use crate::net::{Net, Relay};
use crate::steps::seccomp::{self, Program};
use crate::supervise::watchdog::{INIT_CALLS, confine_init, zero_limits};
use crate::sys::{self, ForkCall, Parent};
use crate::{Kernel, Layer, Network, Result, steps::report::EnabledLayers};
use remit_spawn::ResourceLimit;
use remit_sys::rights::drop_all_rights;
use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
};

#[derive(Debug)]
pub(crate) struct Filters {
    monitor: Program,
    init: Program,
}

/// What surrounds a job with namespaces of its own.
#[derive(Debug)]
pub(crate) struct Attendance {
    pub(crate) net: Option<Net>,
    pub(crate) filters: Filters,
}

impl Attendance {
    pub(crate) fn new(network: &Network, kernel: &Kernel) -> Result<Attendance> {
        Ok(Attendance {
            net: Net::new(network, kernel)?,
            filters: Filters::compile()?,
        })
    }
}

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

const QUEUES: &[u8] = b"64";
/// Semaphores in a set, in all, operations of a call, sets: the defaults before Linux 3.19.
const SEMAPHORES: &[u8] = b"250 32000 32 128";

/// Processes of a job's uid that serve it: monitor, init and relay.
pub(crate) const PROCESSES: u64 = 3;

impl Filters {
    pub(crate) fn compile() -> Result<Filters> {
        Ok(Filters {
            monitor: seccomp::only(MONITOR_CALLS)?,
            init: seccomp::only(INIT_CALLS)?,
        })
    }
}

pub(crate) struct Monitor<'a> {
    pub(crate) filters: &'a Filters,
    pub(crate) layers: EnabledLayers,
    pub(crate) call: ForkCall,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) shared_pages: &'a CStr,
    /// pam_limits(8) takes the limits of process 1 for those of the machine. Empty: none is read.
    pub(crate) init_limits: &'a [ResourceLimit],
}

pub(crate) struct Go(OwnedFd);

impl Go {
    /// Waits until monitor and init are confined. False: the monitor has reported why; this process must not.
    pub(crate) fn wait(self) -> bool {
        matches!(sys::read(self.0.as_fd(), &mut [0]), Ok(1))
    }
}

fn kinds(layers: EnabledLayers) -> i32 {
    let flag = |layer, flag| if layers.is_on(layer) { flag } else { 0 };
    libc::CLONE_NEWNS
        | flag(Layer::IpcNamespace, libc::CLONE_NEWIPC)
        | flag(Layer::UtsNamespace, libc::CLONE_NEWUTS)
        | flag(Layer::CgroupNamespace, libc::CLONE_NEWCGROUP)
}

impl Monitor<'_> {
    /// Enters the namespaces. Afterwards this process holds no descriptor of the former ones, only its memory.
    pub(crate) fn enter(&self) -> io::Result<()> {
        let pids = match self.layers.is_on(Layer::PidNamespace) {
            true => libc::CLONE_NEWPID,
            false => 0,
        };
        sys::own_namespaces(kinds(self.layers) | pids)?;
        match self.layers.is_on(Layer::IpcNamespace) {
            true => self.bound_ipc(),
            false => Ok(()),
        }
    }

    /// Bounds ipc objects, which no resource limit counts: shared memory as a private directory's. proc_sys_kernel(5).
    fn bound_ipc(&self) -> io::Result<()> {
        set_own(c"sys/kernel/shmall", self.shared_pages.to_bytes())?;
        set_own(c"sys/kernel/sem", SEMAPHORES)?;
        set_own(c"sys/kernel/msgmni", QUEUES)
    }

    /// Forks init and the job's process, and returns only there, with default signals. This process is their monitor
    /// to the end; here it returns only a failure, after which the job's process ends.
    pub(crate) fn split(&self, relay: Option<Relay>) -> io::Result<Go> {
        // A stop signal from here on is meant for the job.
        sys::block_signals(None)?;
        let (ready, report) = pipe()?;
        let (go, gone) = pipe()?;
        let init = match self.layers.is_on(Layer::PidNamespace) {
            true => Some(self.init(&report)?),
            false => None,
        };
        drop(report);
        let forked = sys::split(self.call, None, Parent::Caller);
        let forked = forked.inspect_err(|_| end_init(init, None))?;
        let Some((job, _pidfd)) = forked else {
            // Its ends of these pipes must end when the monitor ends.
            drop((gone, ready));
            sys::default_signals()?;
            return Ok(Go(go));
        };
        drop(go);
        if let Err(e) = self.confine(init.map(|_| ready.as_fd())) {
            // The job's process waits for this pipe, and exits at its end.
            drop(gone);
            end_init(init, Some(job));
            return Err(e);
        }
        let _ = sys::write(gone.as_fd(), &[1]);
        // No destructor may run for descriptors that were closed by number.
        sys::exit(attend(init, job, relay))
    }

    fn init(&self, report: &OwnedFd) -> io::Result<i32> {
        let monitor = sys::pidfd_open(std::process::id().cast_signed())?;
        let filter = self.filters.init.instructions();
        let (uid, gid) = (self.uid, self.gid);
        let child = || match confine_init(uid, gid, self.init_limits, &monitor, report, filter) {
            Ok(()) => sys::pause_forever(),
            Err(_) => 1,
        };
        let (pid, _pidfd) = sys::fork(self.call, None, child)?;
        Ok(pid)
    }

    /// Gives up every right, and waits for a byte from init.
    fn confine(&self, init: Option<BorrowedFd<'_>>) -> io::Result<()> {
        sys::set_name(c"remit-monitor")?;
        sys::change_dir(c"/")?;
        drop_all_rights(self.uid, self.gid, &[])?;
        zero_limits(0)?;
        if let Some(ready) = init
            && sys::read(ready, &mut [0])? != 1
        {
            return Err(io::Error::from_raw_os_error(libc::ECHILD));
        }
        sys::no_new_privs()?;
        sys::install_filter(self.filters.monitor.instructions())
    }
}

/// Writes a setting of this process's own namespaces. In a container `/proc/sys` is often read-only; then it uses a
/// `/proc` that is mounted only for this descriptor. A kernel without the setting has nothing to bound.
pub(crate) fn set_own(name: &CStr, value: &[u8]) -> io::Result<()> {
    let beneath = |proc: OwnedFd| sys::open_at(Some(proc.as_fd()), name, libc::O_WRONLY);
    let host = || beneath(sys::open(c"/proc", libc::O_PATH | libc::O_DIRECTORY)?);
    let own = || beneath(sys::detached_proc()?);
    match host().or_else(|_| own()) {
        Ok(file) => sys::write(file.as_fd(), value).map(drop),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

fn attend(init: Option<i32>, job: i32, relay: Option<Relay>) -> i32 {
    let _ = sys::close_from(0);
    let ended = wait(job);
    end_init(init, None);
    if let Some(relay) = relay {
        let _ = relay.finish();
    }
    end_as(ended)
}

fn wait(pid: i32) -> Option<ExitStatus> {
    sys::wait(pid, 0).ok().flatten().map(|(status, _)| status)
}

/// Kills init and all that is left of the job, and waits. The monitor's own child is reaped first. pid_namespaces(7).
fn end_init(init: Option<i32>, job: Option<i32>) {
    // An init that still has more rights than the monitor cannot be killed by it, but dies with it.
    let killed = init.is_none_or(|pid| sys::kill(pid, libc::SIGKILL).is_ok());
    for pid in [job, init].into_iter().flatten() {
        if killed {
            wait(pid);
        }
    }
}

/// Exits with the job's status, or dies of the same signal. Nothing here can dump core.
fn end_as(ended: Option<ExitStatus>) -> i32 {
    const UNKNOWN: i32 = 255;
    let Some(status) = ended else {
        return UNKNOWN;
    };
    if let Some(code) = status.code() {
        return code;
    }
    let signal = status.signal().unwrap_or(libc::SIGKILL);
    let _ = sys::block_signals(Some(signal));
    let _ = sys::kill(std::process::id().cast_signed(), signal);
    UNKNOWN
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?)
}
