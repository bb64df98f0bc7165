//! Errors of verbs as text and JSON, and all exit statuses: timeout(1), env(1), sysexits.h. `remit.1` has the table.

use std::io;
use std::process::ExitCode;

use remit_common::frame::FrameError;
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_wire::client::ClientError;
use remit_wire::outcome::{JobReport, State};

#[derive(Debug)]
pub enum Failure {
    /// Bad arguments; also `--help` and `--version`, which clap reports as errors.
    Usage(clap::Error),
    Client(ClientError),
    Input(Refusal),
    Machine(Refusal),
    NotApproved(&'static str),
    NotRoot(&'static str),
    NotAllowed(Refusal),
    /// ssh failed, with this status of its own or of the command over there.
    Ssh(Exit, Refusal),
    /// The reader of our output is gone. Nothing is printed.
    Gone,
    /// As `Gone`, while this job runs. The job continues.
    Unread(JobId),
    Output(io::Error),
    /// Requested output is no longer kept; says how much.
    Lost(String),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Client(ClientError::Refused(refusal))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Gone,
            _ => Self::Output(error),
        }
    }
}

impl Failure {
    pub fn off_protocol() -> Self {
        Self::Client(ClientError::Broken(FrameError::Malformed))
    }

    pub fn is_in_doubt(&self) -> bool {
        match self {
            Self::Client(ClientError::Refused(refusal)) => refusal.code == Code::DaemonUnavailable,
            Self::Client(_) | Self::Output(_) => true,
            _ => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(u8);

impl Exit {
    pub const OK: Self = Self(0);
    pub const USAGE: Self = Self(64);
    /// The daemon does not run, or the connection broke (EX_UNAVAILABLE).
    pub const UNAVAILABLE: Self = Self(69);
    pub const OUTPUT: Self = Self(74);
    /// This user may not connect (EX_NOPERM).
    pub const NOT_ALLOWED: Self = Self(77);
    pub const TIMED_OUT: Self = Self(124);
    pub const REFUSED: Self = Self(125);
    /// The user pressed Ctrl-C: 128 and SIGINT.
    pub const INTERRUPTED: Self = Self(130);
    /// Nobody reads the output of a job that continues: 128 and SIGPIPE.
    pub const UNREAD: Self = Self(141);
    /// Policy files: an error, a failed test, a denial or a difference. Audit records: a fault, or no record.
    pub const FOUND: Self = Self(1);
    /// Policy files cannot be judged; 2 as in diff(1).
    pub const TROUBLE: Self = Self(2);
    pub const NOT_APPROVED: Self = Self(1);
    /// As grep(1).
    pub const NO_MATCH: Self = Self(1);

    /// 128 and SIGHUP: the terminal is gone.
    pub const HUNG_UP: Self = Self(129);

    /// 128 and SIGKILL: killed by the kernel or the daemon.
    const KILLED: Self = Self(137);
    /// 128 and SIGTERM: stopped by its owner.
    pub const TERMINATED: Self = Self(143);

    /// The status of ssh(1): that of the command over there, or 255. Killed by a signal counts as 255.
    pub fn of_ssh(code: Option<i32>) -> Self {
        Self(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255))
    }

    /// The number of failed checks, at most 63, because sysexits.h defines statuses from 64 on.
    pub fn of_failures(count: usize) -> Self {
        Self(u8::try_from(count.min(63)).unwrap_or(63))
    }

    /// The status of a job: its own if it exited by itself. After a commit, that of the first following command that failed.
    pub fn of_job(report: &JobReport) -> Self {
        let own = Self::of_job_alone(report);
        let failed = report
            .then
            .iter()
            .find(|one| one.is_over() && !one.has_succeeded());
        match failed {
            Some(failed) if own == Self::OK => {
                let exit = failed.exit.and_then(|exit| u8::try_from(exit).ok());
                exit.filter(|exit| *exit != 0).map_or(Self::REFUSED, Self)
            }
            _ => own,
        }
    }

    fn of_job_alone(report: &JobReport) -> Self {
        let ending = report.ending.as_ref();
        let own = ending.and_then(|ending| ending.exit);
        let signal = ending.and_then(|ending| ending.signal);
        match report.state {
            State::AwaitingApproval | State::Queued | State::Running => Self::OK,
            // The kernel keeps eight bits of a status (wait(2)).
            State::Exited => own
                .and_then(|own| u8::try_from(own).ok())
                .map_or(Self::REFUSED, Self),
            State::Signalled => by_signal(signal).unwrap_or(Self::KILLED),
            State::TimedOut => Self::TIMED_OUT,
            State::OomKilled | State::OutputLimit => Self::KILLED,
            State::Cancelled => by_signal(signal).unwrap_or(Self::TERMINATED),
            State::Interrupted => by_signal(signal).unwrap_or(Self::KILLED),
            State::Denied | State::Expired => Self::REFUSED,
            // As env(1): 126 is not executable, 127 is not found.
            State::NotStarted => match own {
                Some(126) => Self(126),
                Some(127) => Self(127),
                Some(_) | None => Self::REFUSED,
            },
        }
    }
}

/// 128 and the signal's number, as in shells.
fn by_signal(signal: Option<i32>) -> Option<Exit> {
    let signal = u8::try_from(signal?).ok().filter(|signal| *signal > 0)?;
    signal.checked_add(128).map(Exit)
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

impl From<Exit> for i32 {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

#[cfg(test)]
mod tests {
    use remit_common::names::JobId;
    use remit_wire::outcome::{Captured, Ending};

    use super::*;

    fn status(state: State, exit: Option<i32>, signal: Option<i32>) -> u8 {
        let ending = Ending {
            denials: Vec::new(),
            state,
            exit,
            signal,
            cause: String::new(),
            kill_verified: true,
            cpu_usec: 0,
            memory_peak: 0,
            runtime_ms: 0,
            code: None,
            next: None,
        };
        Exit::of_job(&JobReport {
            then: Vec::new(),
            denials: Vec::new(),
            job: JobId([0; 16]),
            command: String::new(),
            state,
            ending: Some(ending),
            started_ms: 0,
            waited_ms: 0,
            queue_position: None,
            enforced: None,
            stdout: Captured::default(),
            stderr: Captured::default(),
            notes: Vec::new(),
            approval: None,
        })
        .0
    }

    #[test]
    fn every_ending_has_its_status() {
        let cases = [
            (State::Exited, Some(0), None, 0),
            (State::Exited, Some(7), None, 7),
            (State::Exited, Some(255), None, 255),
            (State::Exited, None, None, 125),
            (State::Signalled, None, Some(9), 137),
            (State::Signalled, None, Some(11), 139),
            (State::Signalled, None, Some(64), 192),
            (State::TimedOut, None, Some(9), 124),
            (State::OomKilled, None, Some(9), 137),
            (State::OutputLimit, None, Some(15), 137),
            (State::Cancelled, None, Some(2), 130),
            (State::Cancelled, None, None, 143),
            (State::Interrupted, None, None, 137),
            (State::NotStarted, None, None, 125),
            (State::NotStarted, Some(126), None, 126),
            (State::NotStarted, Some(127), None, 127),
            (State::NotStarted, Some(0), None, 125),
        ];
        for (state, exit, signal, expect) in cases {
            assert_eq!(status(state, exit, signal), expect, "{state:?} {signal:?}");
        }
    }

    #[test]
    fn failure_count_stops_below_reserved_statuses() {
        for (count, status) in [(0, 0), (1, 1), (63, 63), (64, 63), (1 << 20, 63)] {
            assert_eq!(Exit::of_failures(count).0, status);
        }
    }

    #[test]
    fn nonsense_from_the_daemon_is_never_success() {
        for wrong in [-1, 0, 128, 300] {
            assert_ne!(status(State::Signalled, None, Some(wrong)), 0, "{wrong}");
        }
        for wrong in [-1, 256] {
            assert_ne!(status(State::Exited, Some(wrong), None), 0, "{wrong}");
        }
    }
}
