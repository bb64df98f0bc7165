//! Resets the state that the process inherited from its parent.

use std::fs::OpenOptions;
use std::os::fd::AsRawFd;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};

use remit_common::caps;

use crate::startup::error::Fatal;

/// Normalizes umask, descriptors, directory, limits and signals. The environment stays: only the manager's is read.
pub fn normalise() -> Result<SignalFd, Fatal> {
    umask(Mode::from_bits_truncate(0o077));
    standard_descriptors()?;
    std::env::set_current_dir("/").map_err(Fatal::call("cannot enter '/'"))?;
    not_dumpable()?;
    descriptors_limit();
    signals()
}

/// Otherwise the next opened file could get descriptor 0, 1 or 2, and a print would write to it.
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
        // Keeps the descriptor open permanently.
        std::mem::forget(null);
    }
}

/// Forbids core dumps, and ptrace and memory access through /proc to all but root.
fn not_dumpable() -> Result<(), Fatal> {
    let call =
        |errno: nix::errno::Errno| Fatal::System(format!("cannot forbid core dumps: {errno}"));
    nix::sys::prctl::set_dumpable(false).map_err(call)?;
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE).map_err(call)?;
    setrlimit(Resource::RLIMIT_CORE, 0, hard).map_err(call)
}

fn descriptors_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // A failure is not fatal: the daemon's own bounds are far lower.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(1 << 16), hard);
    }
}

/// Fails if the limit is too low for `max` jobs at once and `queue` waiting jobs. Without a free descriptor, the
/// daemon could not even refuse a connection. It could neither receive nor close descriptors from the broker.
pub fn enough_descriptors(max: usize, queue: usize) -> Result<(), Fatal> {
    let call = |errno: nix::errno::Errno| Fatal::System(format!("cannot read a limit: {errno}"));
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).map_err(call)?;
    let running = max.saturating_mul(JOB_DESCRIPTORS);
    let waiting = match queue {
        0 => 0,
        _ => queue
            .saturating_add(caps::FIRSTS)
            .saturating_mul(WAITING_DESCRIPTORS),
    };
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

/// Pidfd, output (two), steps, reports, mount namespace, cgroup (two), script and standard input of a job.
const JOB_DESCRIPTORS: usize = 10;
/// Script and standard input of a queued job.
const WAITING_DESCRIPTORS: usize = 2;
/// A pidfd per session; socket and pidfd per connection that is looked up and per administrator; script and standard
/// input per change that waits for approval; and a reserve for messages to and from the broker.
const OWN_DESCRIPTORS: usize = 3 * (caps::SESSIONS + caps::SESSION_USERS)
    + 2 * (caps::ADMIN_CONNECTIONS + caps::FIRSTS)
    + 2 * (caps::PENDING + caps::FIRSTS)
    + 512;

/// Handled signals go to a signalfd. SIGPIPE is blocked, so writes return EPIPE. All others are reset to the default.
fn signals() -> Result<SignalFd, Fatal> {
    let call = |errno: nix::errno::Errno| Fatal::System(format!("cannot set up signals: {errno}"));
    let handled = [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGPIPE,
    ];
    remit_sys::sys::default_signals().map_err(Fatal::call("cannot set up signals"))?;
    let mut mask = SigSet::empty();
    mask.thread_set_mask().map_err(call)?;
    handled.into_iter().for_each(|signal| mask.add(signal));
    mask.thread_block().map_err(call)?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).map_err(call)
}
