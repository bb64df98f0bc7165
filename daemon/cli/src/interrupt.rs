//! Ctrl-C while a job runs: the first asks the daemon to stop the job, the next leaves. Who only looks on, or
//! waits for an approval, leaves with the first.
//!
//! SIGINT is blocked and waited for by a thread (sigwait(3)), so no code runs
//! in a signal's context and none of it needs to be unsafe.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{io, thread};

use nix::sys::signal::{SigSet, Signal};
use remit_common::RELEASE;
use remit_common::client::{Client, ClientError};
use remit_common::names::JobId;
use remit_common::outcome::State;
use remit_common::wire::{JobQuery, Reply, Request};

use crate::daemon::{LOSSES, is_loss};
use crate::exit::Exit;
use crate::output;

/// How far a run is, as Ctrl-C sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Asked for; its id is not known yet.
    Asked,
    /// It runs, or waits for its place.
    Running(JobId),
    /// When last heard of, it waited for an approval.
    Pending(JobId),
    /// It is only looked at.
    Watched(JobId),
    /// It is to be stopped, as soon as its id is known.
    Unwanted,
    /// Nothing is left to stop, or that was asked for already.
    Over,
}

/// What to do about one Ctrl-C.
#[derive(Debug, PartialEq, Eq)]
enum Act {
    Wait,
    Stop(JobId),
    /// Stop it if it runs by now; a request that still waits stays as it is.
    StopUnlessPending(JobId),
    Leave,
    LeaveRunning(JobId),
}

impl Phase {
    /// The next phase after Ctrl-C, and what to do.
    fn pressed(self) -> (Self, Act) {
        match self {
            Self::Asked => (Self::Unwanted, Act::Wait),
            Self::Running(job) => (Self::Over, Act::Stop(job)),
            Self::Pending(job) => (Self::Over, Act::StopUnlessPending(job)),
            Self::Watched(job) => (Self::Over, Act::LeaveRunning(job)),
            Self::Unwanted | Self::Over => (Self::Over, Act::Leave),
        }
    }

    /// The next phase when the id is known, and what to do.
    fn started(self, job: JobId) -> (Self, Act) {
        match self {
            Self::Asked | Self::Running(_) | Self::Pending(_) => (Self::Running(job), Act::Wait),
            Self::Unwanted => (Self::Over, Act::Stop(job)),
            Self::Watched(_) | Self::Over => (self, Act::Wait),
        }
    }

    /// The same when it waits for an approval.
    fn awaits(self, job: JobId) -> (Self, Act) {
        match self.started(job) {
            (Self::Running(job), act) => (Self::Pending(job), act),
            other => other,
        }
    }
}

/// The watch on Ctrl-C.
pub struct Interrupt {
    socket: PathBuf,
    phase: Arc<Mutex<Phase>>,
}

impl Interrupt {
    /// Watches from now on over a job that is about to be asked for. Call it before any other thread starts.
    ///
    /// # Errors
    /// When the signal cannot be blocked or no thread can be started.
    pub fn watch(socket: PathBuf) -> io::Result<Self> {
        Self::begin(socket, Phase::Asked)
    }

    /// Has Ctrl-C leave `job` running, and tell how to stop it.
    ///
    /// # Errors
    /// As [`Self::watch`].
    pub fn look_on(socket: PathBuf, job: JobId) -> io::Result<Self> {
        Self::begin(socket, Phase::Watched(job))
    }

    fn begin(socket: PathBuf, phase: Phase) -> io::Result<Self> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.thread_block()?;
        let phase = Arc::new(Mutex::new(phase));
        let watched = Arc::clone(&phase);
        let daemon = socket.clone();
        thread::Builder::new().spawn(move || {
            while signals.wait().is_ok() {
                let act = step(&watched, Phase::pressed);
                if act == Act::Wait {
                    output::note("stopping the job; press Ctrl-C again to leave it running");
                }
                perform(act, &daemon);
            }
        })?;
        Ok(Self { socket, phase })
    }

    /// The job's id is known.
    pub fn started(&self, job: JobId) {
        perform(step(&self.phase, |phase| phase.started(job)), &self.socket);
    }

    /// The same, and it waits for an approval: Ctrl-C leaves it waiting, and stops it once it runs.
    pub fn awaits(&self, job: JobId) {
        perform(step(&self.phase, |phase| phase.awaits(job)), &self.socket);
    }

    /// The job has ended: Ctrl-C leaves from now on. Tells whether it was pressed before.
    pub fn ended(&self) -> bool {
        let before = std::mem::replace(&mut *lock(&self.phase), Phase::Over);
        matches!(before, Phase::Unwanted | Phase::Over)
    }
}

fn lock(phase: &Mutex<Phase>) -> MutexGuard<'_, Phase> {
    // A phase is replaced whole, so it is good even if a thread died with the lock.
    phase.lock().unwrap_or_else(PoisonError::into_inner)
}

fn step(phase: &Mutex<Phase>, next: impl FnOnce(Phase) -> (Phase, Act)) -> Act {
    let mut phase = lock(phase);
    let (new, act) = next(*phase);
    *phase = new;
    act
}

fn perform(act: Act, socket: &Path) {
    match act {
        Act::Wait => {}
        Act::Leave => std::process::exit(Exit::INTERRUPTED.into()),
        Act::LeaveRunning(job) => {
            output::note(&format!("job {job} goes on; to stop it: remit stop {job}"));
            std::process::exit(Exit::INTERRUPTED.into());
        }
        Act::Stop(job) => {
            output::note(&stopping(job));
            on_a_thread(socket, job, stop);
        }
        Act::StopUnlessPending(job) => on_a_thread(socket, job, |socket, job| {
            if is_pending(socket, job) {
                output::note(&format!(
                    "job {job} still waits for an approval; to withdraw it: remit stop {job}"
                ));
                std::process::exit(Exit::INTERRUPTED.into());
            }
            output::note(&stopping(job));
            stop(socket, job);
        }),
    }
}

fn stopping(job: JobId) -> String {
    format!("stopping job {job}; press Ctrl-C again to leave it to the daemon")
}

/// On a thread and a connection of its own: the run's connection waits for the end, and the next
/// Ctrl-C must not wait for this answer.
fn on_a_thread(socket: &Path, job: JobId, act: fn(&Path, JobId)) {
    let socket = socket.to_path_buf();
    let started = thread::Builder::new().spawn(move || act(&socket, job));
    if let Err(error) = started {
        output::note(&format!("cannot stop job {job}: {error}"));
    }
}

/// Whether it has not been approved yet; also where that cannot be told, since a request that stays can
/// still be withdrawn.
fn is_pending(socket: &Path, job: JobId) -> bool {
    let now = JobQuery {
        job,
        wait_ms: 0,
        part: None,
    };
    match asked(socket, &Request::Job(now)) {
        Ok(Reply::Job { report, .. }) => report.state == State::AwaitingApproval,
        Ok(_) | Err(_) => true,
    }
}

fn stop(socket: &Path, job: JobId) {
    let signal = Some(Signal::SIGINT as i32);
    if let Err(error) = asked(socket, &Request::Stop { job, signal }) {
        output::note(&format!("cannot stop job {job}: {error}"));
    }
}

/// What the daemon answers, also when it loses the connection once or twice.
fn asked(socket: &Path, request: &Request) -> Result<Reply, ClientError> {
    let ask = || {
        Client::connect(socket, &format!("remit {RELEASE}"))
            .and_then(|mut client| client.call(request.clone(), |_| ()))
    };
    let mut losses = LOSSES;
    loop {
        match ask() {
            Err(error) if losses > 0 && is_loss(&error) => losses -= 1,
            asked => return asked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: JobId = JobId([7; 16]);

    #[test]
    fn the_first_stops_and_the_second_leaves() {
        let cases = [
            (Phase::Asked, Phase::Unwanted, Act::Wait),
            (Phase::Running(JOB), Phase::Over, Act::Stop(JOB)),
            (
                Phase::Pending(JOB),
                Phase::Over,
                Act::StopUnlessPending(JOB),
            ),
            (Phase::Watched(JOB), Phase::Over, Act::LeaveRunning(JOB)),
            (Phase::Unwanted, Phase::Over, Act::Leave),
            (Phase::Over, Phase::Over, Act::Leave),
        ];
        for (phase, next, act) in cases {
            assert_eq!(phase.pressed(), (next, act), "{phase:?}");
        }
    }

    #[test]
    fn a_stop_that_came_too_early_is_kept() {
        assert_eq!(Phase::Unwanted.started(JOB), (Phase::Over, Act::Stop(JOB)));
        assert_eq!(Phase::Asked.started(JOB), (Phase::Running(JOB), Act::Wait));
        assert_eq!(Phase::Over.started(JOB), (Phase::Over, Act::Wait));
        assert_eq!(Phase::Asked.awaits(JOB), (Phase::Pending(JOB), Act::Wait));
        assert_eq!(Phase::Unwanted.awaits(JOB), (Phase::Over, Act::Stop(JOB)));
    }
}
