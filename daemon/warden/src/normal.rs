//! Makes the process its own: whatever its parent left it, it starts from the same state.

use std::fs::OpenOptions;
use std::os::fd::AsRawFd;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};

use crate::error::Fatal;

/// Normalises umask, descriptors, signals, working directory and limits; see the steps.
///
/// The environment needs none: every child gets one built from nothing, and the
/// warden reads only what sd-notify(3) and sd_listen_fds(3) define.
///
/// # Errors
/// A step that failed, by name.
pub fn normalise() -> Result<SignalFd, Fatal> {
    umask(Mode::from_bits_truncate(0o077));
    standard_descriptors()?;
    std::env::set_current_dir("/").map_err(Fatal::call("cannot enter '/'"))?;
    not_dumpable()?;
    descriptors_limit();
    signals()
}

/// A closed 0, 1 or 2 would be taken by the next file that is opened, and be written to by a print.
fn standard_descriptors() -> Result<(), Fatal> {
    loop {
        let null = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map_err(Fatal::call("cannot open '/dev/null'"))?;
        if null.as_raw_fd() > 2 {
            return Ok(());
        }
        // It fills the gap, and stays open for good.
        std::mem::forget(null);
    }
}

/// No core dump, no ptrace, no look at our memory through /proc for anyone but root.
fn not_dumpable() -> Result<(), Fatal> {
    let call =
        |errno: nix::errno::Errno| Fatal::System(format!("cannot forbid core dumps: {errno}"));
    nix::sys::prctl::set_dumpable(false).map_err(call)?;
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE).map_err(call)?;
    setrlimit(Resource::RLIMIT_CORE, 0, hard).map_err(call)
}

/// As many descriptors as we may have; each job and session costs some.
fn descriptors_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // The caps hold the daemon far below; not to get more is no reason to end.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(1 << 16), hard);
    }
}

/// Refuses to start with fewer descriptors than what is allowed at once may need.
///
/// Without one left, not even a connection could be refused, and what comes beside a message
/// of the broker could be neither taken nor closed.
///
/// # Errors
/// The hard limit is too low for `max` jobs at once and `queue` that wait.
pub fn enough_descriptors(max: usize, queue: usize) -> Result<(), Fatal> {
    let call = |errno: nix::errno::Errno| Fatal::System(format!("cannot read a limit: {errno}"));
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).map_err(call)?;
    let running = max.saturating_mul(JOB_DESCRIPTORS);
    let waiting = queue.saturating_mul(WAITING_DESCRIPTORS);
    let need = OWN_DESCRIPTORS
        .saturating_add(running)
        .saturating_add(waiting);
    if usize::try_from(soft).unwrap_or(usize::MAX) >= need {
        return Ok(());
    }
    Err(Fatal::Unavailable(format!(
        "{soft} open files are allowed, and jobs.max = {max} with jobs.queue = {queue} needs {need}: \
         raise LimitNOFILE, or ulimit -n"
    )))
}

/// Pidfd, output, steps, cgroup, script and standard input of a job.
const JOB_DESCRIPTORS: usize = 8;
/// Script and standard input of one that waits for its place.
const WAITING_DESCRIPTORS: usize = 2;
/// Sessions, administrators, plans that wait, what waits for the broker and comes from it.
const OWN_DESCRIPTORS: usize = 2048;

/// Ours arrive through a descriptor; SIGPIPE stays blocked, so that EPIPE tells; all others as at boot.
fn signals() -> Result<SignalFd, Fatal> {
    let call = |errno: nix::errno::Errno| Fatal::System(format!("cannot set up signals: {errno}"));
    let ours = [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGPIPE,
    ];
    remit_confine::floor::default_signals().map_err(Fatal::call("cannot set up signals"))?;
    let mut mask = SigSet::empty();
    mask.thread_set_mask().map_err(call)?;
    ours.into_iter().for_each(|signal| mask.add(signal));
    mask.thread_block().map_err(call)?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).map_err(call)
}
