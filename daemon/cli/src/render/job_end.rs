//! Describes how a job ended, the state of a job or request, and who may approve it. It never shows output.

use nix::sys::signal::Signal;
use remit_common::admin::AnyJob;
use remit_common::denial::Denial;
use remit_common::refusal::Code;
use remit_wire::outcome::{ApprovalView, DENIED_BY, FollowUp, JobReport, State};

use crate::render::untrusted_columns::Page;
use crate::render::{failure, output, units};

const DENIALS_SHOWN: usize = 3;

#[derive(Clone, Copy)]
pub struct Ended<'a> {
    state: State,
    exit: Option<i32>,
    signal: Option<i32>,
    cause: &'a str,
    code: Option<Code>,
    /// True if the end of all its processes was verified; `None` while the job lives.
    gone: Option<bool>,
    has_run: bool,
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
            has_run: report.enforced.is_some()
                || has_run(report.state, ending.map_or(0, |ending| ending.runtime_ms)),
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
            has_run: has_run(job.state, job.runtime_ms),
        }
    }
}

/// After a crash of the daemon the time of a job that ran is not known.
fn has_run(state: State, runtime_ms: u64) -> bool {
    match state {
        State::AwaitingApproval | State::Queued | State::Denied | State::Expired => false,
        State::Cancelled | State::NotStarted => runtime_ms > 0,
        State::Running
        | State::Exited
        | State::Signalled
        | State::TimedOut
        | State::OomKilled
        | State::OutputLimit
        | State::Interrupted => true,
    }
}

/// Returns the state in a word. On the wire, denied and void requests have the same one.
pub fn word(state: State, code: Option<Code>) -> &'static str {
    match (state, code) {
        (State::Denied, Some(Code::ApprovalDenied) | None) => "denied",
        (State::Denied, Some(_)) => "void",
        (state, _) => state.as_str(),
    }
}

impl Ended<'_> {
    pub fn word(self) -> &'static str {
        word(self.state, self.code)
    }

    pub fn code(self) -> Option<Code> {
        self.code
    }

    /// Describes what the exit status does not show. `None` if the command exited by itself.
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

    /// As `sentence`, with the exit status and, if the job has run, the verified end of its processes.
    pub fn account(self) -> String {
        let sentence = self.sentence().unwrap_or_else(|| match self.exit {
            Some(exit) => format!("the job exited by itself with status {exit}"),
            None => "the job ended by itself".to_owned(),
        });
        match self.is_verified() && self.code.is_none() {
            true => format!("{sentence}; every process of it is gone, verified"),
            false => sentence,
        }
    }

    pub fn is_verified(self) -> bool {
        self.has_run && self.gone == Some(true)
    }

    /// Returns a warning if the job ended and the end of all its processes is not verified.
    pub fn doubt(self) -> Option<&'static str> {
        match (self.gone, self.state) {
            (Some(true) | None, _) => None,
            (Some(false), State::Interrupted) => {
                Some("some processes of the job may still run: their end could not be verified")
            }
            (Some(false), _) => Some(
                "a process of the job is stuck in the kernel: its end could not be verified, and \
                 the job keeps its job slot until it is gone",
            ),
        }
    }

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

/// `then service.reload unit=nginx.service: exited with status 0 (job 1a2b3c4d)`.
pub fn follow_up(one: &FollowUp) -> String {
    let how = match one.cause.as_str() {
        "" => one.state.as_str(),
        cause => cause,
    };
    let job = one.job.map(|job| format!(" (job {})", job.short()));
    let job = job.unwrap_or_default();
    failure::typed(&format!("then {}: {how}{job}", one.command))
}

pub fn refused(denial: &Denial) -> Vec<String> {
    let what = match &denial.object {
        Some(object) => format!("{} {object}", denial.operation),
        None => denial.operation.clone(),
    };
    // Without a kernel report, the denial is a guess from the program's output.
    let refused = match denial.guess {
        true => "probably refused",
        false => "refused",
    };
    let mut lines = vec![format!(
        "{refused} ({}): {what}: {}",
        denial.layer.as_str(),
        denial.rule
    )];
    let next = denial.next.as_deref().map(failure::typed);
    lines.extend(next.map(|next| format!("  instead: {next}")));
    let lift = denial.lift.as_deref();
    lines.extend(lift.map(|lift| format!("  to lift it: {lift}")));
    lines
}

pub fn notes(report: &JobReport) {
    tell(report, Ended::from(report).sentence());
}

/// As `notes`, for a job that the user stopped: its ending is always printed.
pub fn stopped(report: &JobReport) {
    tell(report, Some(Ended::from(report).account()));
}

fn tell(report: &JobReport, ending: Option<String>) {
    for denial in report.denials.iter().take(DENIALS_SHOWN) {
        for line in refused(denial) {
            output::note(&line);
        }
    }
    if let Some(more) = report
        .denials
        .len()
        .checked_sub(DENIALS_SHOWN)
        .filter(|more| *more > 0)
    {
        output::note(&format!("{more} more refusals: remit job {}", report.job));
    }
    say_notes(report);
    if let Some(ending) = ending {
        output::note(&ending);
    }
    for one in &report.then {
        output::note(&follow_up(one));
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

/// Prints on stderr who may approve the job, until when, and with which command; nothing if none is pending.
pub fn tell_approval(report: &JobReport) {
    let Some(approval) = &report.approval else {
        return;
    };
    output::note(&format!(
        "job {} waits for the approval of another person: {}",
        report.job,
        approvers(approval)
    ));
    output::note(&format!("to approve it, they run: {}", approval.line));
    output::note(&format!("it expires at {}", approval_end(approval)));
    say_notes(report);
}

fn say_notes(report: &JobReport) {
    for note in &report.notes {
        output::note(&format!("note: {}", failure::typed(note)));
    }
}

pub fn approvers(approval: &ApprovalView) -> String {
    approval.by.join(", ")
}

pub fn approval_end(approval: &ApprovalView) -> String {
    units::time(approval.expires_ms / 1000)
}

pub fn sentence(job: &AnyJob) -> String {
    let name = units::name(job.job);
    let account = Ended::from(job).account();
    let ran = match job.runtime_ms {
        0 => String::new(),
        ms => format!(" (it ran for {})", units::duration(ms)),
    };
    match Ended::from(job).doubt() {
        None => format!("{name}: {account}{ran}"),
        Some(doubt) => format!("{name}: {account}{ran}; {doubt}"),
    }
}

pub fn page(job: &AnyJob) -> Page {
    let mut page = Page::default();
    let what = match job.state {
        State::AwaitingApproval | State::Denied | State::Expired => "request",
        _ => "job",
    };
    page.line(&format!("{what} {}", job.job));
    page.line("");
    page.value("who", &format!("{} (uid {})", job.user, job.uid));
    page.value("command", &job.command);
    let time_label = match job.runtime_ms {
        0 => "since",
        _ => "started",
    };
    page.own_text(time_label, &units::time(job.started_ms / 1000));
    page.own_text("state", Ended::from(job).word());
    if job.kill_verified.is_some() {
        page.sentence("end", &sentence(job));
    }
    if let Some(unconfirmed) = &job.unconfirmed {
        page.sentence("undone", unconfirmed);
    }
    for one in &job.then {
        page.value("", &follow_up(one));
    }
    page
}

/// As [`page`], and where the rest is recorded.
pub fn page_with_story(job: &AnyJob) -> Page {
    let mut page = page(job);
    page.line("");
    page.own_text("story", &format!("remit audit show {}", job.job.short()));
    page.own_text(
        "",
        "the request, the decision and their times, for readers of the audit log",
    );
    page
}
