//! How a job ended, in a sentence.

use nix::sys::signal::Signal;
use remit_common::outcome::{JobReport, State};

use crate::output;

/// What a shell would not tell from the exit status alone; nothing where a command exited by itself.
pub fn sentence(report: &JobReport) -> Option<String> {
    let what = match report.state {
        State::AwaitingApproval | State::Queued | State::Running | State::Exited => return None,
        State::Signalled => "the job was killed",
        State::TimedOut => "the job timed out",
        State::OomKilled => "the job ran out of memory",
        State::OutputLimit => "the job wrote more than is kept",
        State::Cancelled => "the job was cancelled",
        State::Denied => "the job was refused while it waited",
        State::Expired => "nobody approved the job in time",
        State::Interrupted => "the daemon ended while the job ran",
        State::NotStarted => "the job was not started",
    };
    Some(match why(report) {
        Some(why) => format!("{what}: {why}"),
        None => what.to_owned(),
    })
}

/// The daemon's reason, which names a signal itself; without one, the signal.
fn why(report: &JobReport) -> Option<String> {
    let ending = report.ending.as_ref()?;
    if !ending.cause.is_empty() {
        return Some(ending.cause.clone());
    }
    let number = ending.signal.filter(|_| report.state == State::Signalled)?;
    Some(match Signal::try_from(number) {
        Ok(signal) => format!("signal {number} ({signal})"),
        Err(_) => format!("signal {number}"),
    })
}

/// One line on stderr for the ending and for each note.
pub fn notes(report: &JobReport) {
    for note in &report.notes {
        output::note(&format!("note: {note}"));
    }
    if let Some(sentence) = sentence(report) {
        output::note(&sentence);
    }
    if is_unverified(report) {
        output::note("some processes of the job may still run: their end could not be verified");
    }
}

/// The job has ended, but nobody knows that all its processes have.
pub fn is_unverified(report: &JobReport) -> bool {
    report
        .ending
        .as_ref()
        .is_some_and(|ending| !ending.kill_verified)
}
