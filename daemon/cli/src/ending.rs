//! How a job ended, in a sentence.

use nix::sys::signal::Signal;
use remit_common::admin::AnyJob;
use remit_common::denial::Denial;
use remit_common::outcome::{DENIED_BY, JobReport, State};
use remit_common::refusal::Code;

use crate::calls;
use crate::failure;
use crate::output;

/// Refusals of one job that are told unasked.
const TOLD: usize = 3;

/// A job as it ended, whoever told of it.
#[derive(Clone, Copy)]
pub struct Ended<'a> {
    state: State,
    exit: Option<i32>,
    signal: Option<i32>,
    cause: &'a str,
    /// Why it was refused after all.
    code: Option<Code>,
    /// Every process of it is gone, and that was checked; absent while it lives.
    gone: Option<bool>,
}

impl<'a> From<&'a JobReport> for Ended<'a> {
    fn from(report: &'a JobReport) -> Self {
        let ending = report.ending.as_ref();
        Self {
            state: report.state,
            exit: ending.and_then(|ending| ending.exit),
            signal: ending.and_then(|ending| ending.signal),
            cause: ending.map_or("", |ending| &ending.cause),
            code: ending.and_then(|ending| ending.code),
            gone: ending.map(|ending| ending.kill_verified),
        }
    }
}

impl<'a> From<&'a AnyJob> for Ended<'a> {
    fn from(job: &'a AnyJob) -> Self {
        Self {
            state: job.state,
            exit: job.exit,
            signal: None,
            cause: job.cause.as_deref().unwrap_or_default(),
            code: (job.state == State::Denied).then(|| {
                let by_person = job
                    .cause
                    .as_ref()
                    .is_some_and(|why| why.starts_with(DENIED_BY));
                match by_person {
                    true => Code::ApprovalDenied,
                    false => Code::ApprovalVoid,
                }
            }),
            gone: job.kill_verified,
        }
    }
}

impl Ended<'_> {
    /// The state in a word, for a list: what nobody denied is void.
    pub fn word(self) -> &'static str {
        match (self.state, self.code) {
            (State::Denied, Some(Code::ApprovalDenied) | None) => "denied",
            (State::Denied, Some(_)) => "void",
            (state, _) => state.as_str(),
        }
    }

    /// What a shell would not tell from the exit status alone; nothing where a command exited by itself.
    pub fn sentence(self) -> Option<String> {
        let what = match self.state {
            State::AwaitingApproval | State::Queued | State::Running | State::Exited => {
                return None;
            }
            State::Signalled => "the job was killed",
            State::TimedOut => "the job timed out",
            State::OomKilled => "the job ran out of memory",
            State::OutputLimit => "the job wrote more than is kept",
            State::Cancelled => "the job was cancelled",
            State::Denied => match self.code {
                Some(Code::ApprovalDenied) => "the job was not approved",
                Some(Code::ApprovalVoid) => "the request is void",
                _ => "the job was refused while it waited",
            },
            State::Expired => "the request expired",
            State::Interrupted => "the job was interrupted",
            State::NotStarted => "the job was not started",
        };
        Some(match self.why() {
            Some(why) => format!("{what}: {why}"),
            None => what.to_owned(),
        })
    }

    /// The same with the exit status, and with what is known of its processes.
    pub fn account(self) -> String {
        let sentence = self.sentence().unwrap_or_else(|| match self.exit {
            Some(exit) => format!("the job exited by itself with status {exit}"),
            None => "the job ended by itself".to_owned(),
        });
        match self.gone {
            // Nothing of it ever was.
            Some(true) if self.code.is_some() => sentence,
            Some(true) => format!("{sentence}; every process of it is gone, verified"),
            Some(false) | None => sentence,
        }
    }

    /// What is wrong where it has ended and nobody knows that all its processes have.
    pub fn doubt(self) -> Option<&'static str> {
        match (self.gone, self.state) {
            (Some(true) | None, _) => None,
            (Some(false), State::Interrupted) => {
                Some("some processes of the job may still run: their end could not be verified")
            }
            (Some(false), _) => Some(
                "a process of the job is stuck in the kernel: its end could not be verified, and \
                 the job keeps its place until it is gone",
            ),
        }
    }

    /// The daemon's reason, which names a signal itself; without one, the signal.
    fn why(self) -> Option<String> {
        if !self.cause.is_empty() {
            return Some(self.cause.to_owned());
        }
        if self.state == State::Interrupted {
            return Some("the daemon ended before it had".to_owned());
        }
        let number = self.signal.filter(|_| self.state == State::Signalled)?;
        Some(match Signal::try_from(number) {
            Ok(signal) => format!("signal {number} ({signal})"),
            Err(_) => format!("signal {number}"),
        })
    }
}

/// What was refused, by what, and the ways on: a line each.
pub fn refused(denial: &Denial) -> Vec<String> {
    let what = match &denial.object {
        Some(object) => format!("{} {object}", denial.operation),
        None => denial.operation.clone(),
    };
    // Of what the kernel did not tell, only the text of the program is known.
    let refused = match denial.guess {
        true => "probably refused",
        false => "refused",
    };
    let mut lines = vec![format!(
        "{refused} ({}): {what}: {}",
        denial.layer.as_str(),
        denial.rule
    )];
    let next = denial.next.as_deref().map(calls::typed);
    lines.extend(next.map(|next| format!("  instead: {next}")));
    let lift = denial.lift.as_deref();
    lines.extend(lift.map(|lift| format!("  to lift it: {lift}")));
    lines
}

/// One line on stderr for the ending and for each note.
pub fn notes(report: &JobReport) {
    tell(report, Ended::from(report).sentence());
}

/// The same for one that was to be stopped: its end is told whatever it was.
pub fn stopped(report: &JobReport) {
    tell(report, Some(Ended::from(report).account()));
}

fn tell(report: &JobReport, ending: Option<String>) {
    for denial in report.denials.iter().take(TOLD) {
        for line in refused(denial) {
            output::note(&line);
        }
    }
    if let Some(more) = report
        .denials
        .len()
        .checked_sub(TOLD)
        .filter(|more| *more > 0)
    {
        output::note(&format!("{more} more refusals: remit job {}", report.job));
    }
    for note in &report.notes {
        output::note(&format!("note: {note}"));
    }
    if let Some(ending) = ending {
        output::note(&ending);
    }
    let next = report
        .ending
        .as_ref()
        .and_then(|ending| ending.next.as_deref());
    if let Some(next) = next {
        output::note(&format!("what to do next: {}", failure::typed(next)));
    }
    if let Some(doubt) = Ended::from(report).doubt() {
        output::note(doubt);
    }
}
