//! Handles Ctrl-C while a job runs: the first stops the job, the next one exits. A user who only watches, or whose request
//! waits for an approval, exits with the first. A thread waits for the blocked SIGINT (sigwait(3)), so no handler is needed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{io, thread};

use nix::sys::signal::{SigSet, Signal};
use remit_common::RELEASE;
use remit_common::names::JobId;
use remit_wire::client::{Client, ClientError};
use remit_wire::outcome::State;
use remit_wire::{JobQuery, Reply, Request};

use crate::client::user_socket::{LOSSES, is_loss};
use crate::error::Exit;
use crate::render::output;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Asked,
    Running(JobId),
    /// Waiting for an approval in the last report.
    Pending(JobId),
    Watched(JobId),
    /// To be stopped as soon as the id is known.
    Unwanted,
    Over,
}

#[derive(Debug, PartialEq, Eq)]
enum Act {
    Wait,
    Stop(JobId),
    /// Stop the job if it runs by now. A request that still waits for approval stays.
    StopUnlessPending(JobId),
    Leave,
    LeaveRunning(JobId),
}

impl Phase {
    fn pressed(self) -> (Self, Act) {
        match self {
            Self::Asked => (Self::Unwanted, Act::Wait),
            Self::Running(job) => (Self::Over, Act::Stop(job)),
            Self::Pending(job) => (Self::Over, Act::StopUnlessPending(job)),
            Self::Watched(job) => (Self::Over, Act::LeaveRunning(job)),
            Self::Unwanted | Self::Over => (Self::Over, Act::Leave),
        }
    }

    fn started(self, job: JobId) -> (Self, Act) {
        match self {
            Self::Asked | Self::Running(_) | Self::Pending(_) => (Self::Running(job), Act::Wait),
            Self::Unwanted => (Self::Over, Act::Stop(job)),
            Self::Watched(_) | Self::Over => (self, Act::Wait),
        }
    }

    fn awaits(self, job: JobId) -> (Self, Act) {
        match self.started(job) {
            (Self::Running(job), act) => (Self::Pending(job), act),
            other => other,
        }
    }
}

pub struct Interrupt {
    socket: PathBuf,
    phase: Arc<Mutex<Phase>>,
}

impl Interrupt {
    /// Starts to handle Ctrl-C for a job that is about to be requested. Call it before any other thread starts:
    /// threads inherit the signal mask. Fails if SIGINT cannot be blocked or no thread can be started.
    pub fn watch(socket: PathBuf) -> io::Result<Self> {
        Self::begin(socket, Phase::Asked)
    }

    /// As [`Self::watch`], but Ctrl-C leaves `job` running and prints how to stop it.
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

    pub fn started(&self, job: JobId) {
        perform(step(&self.phase, |phase| phase.started(job)), &self.socket);
    }

    /// Notes that the job waits for an approval: Ctrl-C leaves it waiting, but stops it if it runs by then.
    pub fn awaits(&self, job: JobId) {
        perform(step(&self.phase, |phase| phase.awaits(job)), &self.socket);
    }

    /// Handles Ctrl-C for another job that is about to be requested, after [`Self::ended`].
    pub fn watch_next(&self) {
        *lock(&self.phase) = Phase::Asked;
    }

    /// Makes Ctrl-C exit from now on. Returns true if it was pressed before.
    pub fn ended(&self) -> bool {
        let before = std::mem::replace(&mut *lock(&self.phase), Phase::Over);
        matches!(before, Phase::Unwanted | Phase::Over)
    }
}

fn lock(phase: &Mutex<Phase>) -> MutexGuard<'_, Phase> {
    // A phase is replaced as a whole, so a poisoned lock still holds a valid one.
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

/// Uses a thread and connection of its own: the run's waits, and the next Ctrl-C must not wait for this answer.
fn on_a_thread(socket: &Path, job: JobId, act: fn(&Path, JobId)) {
    let socket = socket.to_path_buf();
    let started = thread::Builder::new().spawn(move || act(&socket, job));
    if let Err(error) = started {
        output::note(&format!("cannot stop job {job}: {error}"));
    }
}

/// Returns true if the job waits for an approval or its state is unknown. A request that stays can still be withdrawn.
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
