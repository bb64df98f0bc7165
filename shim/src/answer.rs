//! The daemon's answers as tool results: one JSON as data, and the same as text, in which what a job wrote
//! is set apart from what we say.
//!
//! A command's failure is data; only a refusal is an error. Every result is made
//! to fit before it is built. Pure.

use remit_common::caps;
use remit_common::outcome::{JobReport, JobSummary, Matches, Page, Part, State};
use remit_common::refusal::{Code, Refusal};
use remit_common::request_id;
use remit_common::result::{Encoding, JobResult, MatchResult, PageResult};
use remit_common::wire::{
    AccessReport, HistoryEntry, HistoryPage, JobQuery, PartQuery, Reply, Request,
};
use rmcp::model::{CallToolResult, ContentBlock};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::arguments::Call;
use crate::base64;
use crate::fit::{self, Cut, MAX_TEXT};
use crate::quoted;
use crate::tools::Tool;

/// A job, and the part of its output that was asked for.
#[derive(Serialize, JsonSchema)]
pub struct JobAnswer {
    #[serde(flatten)]
    job: JobResult,
    /// The page asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<PageResult>,
    /// The lines asked for by grep.
    #[serde(skip_serializing_if = "Option::is_none")]
    matches: Option<MatchResult>,
}

/// The caller's jobs.
#[derive(Serialize, JsonSchema)]
pub struct JobList {
    /// Without job_id: my jobs, newest first.
    jobs: Vec<JobSummary>,
    /// Jobs left out of the list for its length.
    more: usize,
}

/// What the caller may do, as much of it as fits.
#[derive(Serialize, JsonSchema)]
pub struct AccessAnswer {
    #[serde(flatten)]
    report: AccessReport,
    /// Grants left out for their length.
    more_grants: usize,
}

/// What the answer to a call is made of, apart from the answer itself.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    tool: Tool,
    base64: bool,
    tail: bool,
    context: u32,
}

/// Leaves out what an answer about one command does not need: the list of those of remit's own, and
/// of profiles.
fn to_the_point(report: &mut AccessReport) {
    if report.asked.is_some() {
        report.profiles.clear();
        // One alone is that which was asked about by its name.
        if report.commands.len() > 1 {
            report.commands.clear();
        }
    }
}

impl Form {
    /// The form of the answer to `call`.
    pub fn of(tool: Tool, call: &Call) -> Self {
        let (tail, context) = match &call.request {
            Request::Job(JobQuery {
                part: Some(PartQuery::Page(page)),
                ..
            }) => (page.tail, 0),
            Request::Job(JobQuery {
                part: Some(PartQuery::Grep(grep)),
                ..
            }) => (false, grep.context),
            _ => (false, 0),
        };
        Self {
            tool,
            base64: call.base64,
            tail,
            context,
        }
    }
}

/// What a tool answers.
#[derive(Debug)]
pub struct Answer {
    /// The answer as JSON, in which every character can be seen.
    data: String,
    /// The same as text, where what a job wrote is set apart in it; else it is the JSON.
    text: Option<String>,
    is_error: bool,
}

impl Answer {
    /// The answer to a call.
    pub fn new(form: Form, reply: Result<Reply, Refusal>) -> Self {
        reply
            .and_then(|reply| made(form, reply))
            .unwrap_or_else(|refusal| Self::refused(&refusal))
    }

    /// The answer that tells a refusal.
    pub fn refused(refusal: &Refusal) -> Self {
        let data = json!({ "error": refusal }).to_string();
        Self {
            is_error: true,
            ..quoted::visible(data).into()
        }
    }

    /// What a person reads.
    pub fn text(&self) -> &str {
        self.text.as_deref().unwrap_or(&self.data)
    }

    /// JSON for programs.
    pub fn data(&self) -> &str {
        &self.data
    }

    /// Whether it tells a refusal.
    pub fn is_error(&self) -> bool {
        self.is_error
    }
}

impl From<String> for Answer {
    fn from(data: String) -> Self {
        Self {
            data,
            text: None,
            is_error: false,
        }
    }
}

impl From<Answer> for CallToolResult {
    fn from(answer: Answer) -> Self {
        let content = vec![ContentBlock::text(answer.text())];
        let mut result = match answer.is_error {
            true => Self::error(content),
            false => Self::success(content),
        };
        // It was made of types that are JSON.
        result.structured_content = serde_json::from_str(&answer.data).ok();
        result
    }
}

fn made(form: Form, reply: Reply) -> Result<Answer, Refusal> {
    match (form.tool, reply) {
        (Tool::Run | Tool::Change | Tool::Job | Tool::JobStop, Reply::Job { report, part }) => {
            match &part {
                None => job(form, &report),
                Some(Part::Page(page)) => paged(form, &report, page),
                Some(Part::Matches(matches)) => searched(form, &report, matches),
            }
            .ok_or_else(too_large)
        }
        (Tool::Job, Reply::Jobs(jobs)) => plain(jobs.len(), |count| list(&jobs, count)),
        (Tool::History, Reply::History(page)) => {
            plain(page.entries.len(), |count| past(&page, count))
        }
        (Tool::Access, Reply::Access(mut report)) => {
            to_the_point(&mut report);
            let entries = report.grants.len() + report.commands.len();
            plain(entries, |count| access(&report, count))
        }
        (Tool::Host, Reply::Host(report)) => {
            let report = serde_json::to_value(&report).map_err(|_| too_large())?;
            let report = fit::without_largest_sections(report);
            plain(0, |_| &report)
        }
        (
            _,
            Reply::Job { .. }
            | Reply::Followed(_)
            | Reply::Jobs(_)
            | Reply::Access(_)
            | Reply::History(_)
            | Reply::Host(_),
        ) => Err(another()),
    }
}

fn another() -> Refusal {
    Refusal::new(Code::DaemonUnavailable, "remitd answered another question")
        .next("tell the user that remitd and mcp-shim do not fit together")
}

/// An answer in which nothing is a job's.
fn plain<T: Serialize>(max: usize, make: impl Fn(usize) -> T) -> Result<Answer, Refusal> {
    let (_, data) = fit::largest(max, make).ok_or_else(too_large)?;
    Ok(data.into())
}

fn job(form: Form, report: &JobReport) -> Option<Answer> {
    let answer = |budget| JobAnswer {
        job: JobResult::from(fit::report(report, budget).as_ref()),
        page: None,
        matches: None,
    };
    fit::largest(fit::output(report), answer).map(|made| set_apart(form, made))
}

/// The answer with what the job wrote set apart in its text, which is as long as the JSON, or but a little
/// longer.
fn set_apart(form: Form, (mut answer, data): (JobAnswer, String)) -> Answer {
    let is_error = form.tool.starts() && is_refused(&answer.job);
    let JobAnswer { job, page, matches } = &mut answer;
    let pieces = quoted::taken(job, page.as_mut(), matches.as_mut());
    let text = (!pieces.is_empty()).then(|| {
        let rest = serde_json::to_string(&answer).unwrap_or_default();
        quoted::text(rest, &pieces, || request_id::fresh().ok())
    });
    Answer {
        data,
        text,
        is_error,
    }
}

/// Whether a job was refused after all while it waited. One that still waits for a person is no failure.
fn is_refused(job: &JobResult) -> bool {
    job.code.is_some() && job.state != State::AwaitingApproval
}

// Who asks for a part does not want the same output twice.

fn paged(form: Form, report: &JobReport, page: &Page) -> Option<Answer> {
    let answer = |budget| JobAnswer {
        job: JobResult::without_output(report),
        page: Some(page_of(page, budget, form)),
        matches: None,
    };
    fit::largest(page.bytes.len(), answer).map(|made| set_apart(form, made))
}

fn searched(form: Form, report: &JobReport, matches: &Matches) -> Option<Answer> {
    let answer = |shown: &Matches| JobAnswer {
        job: JobResult::without_output(report),
        page: None,
        matches: Some(MatchResult::from(shown)),
    };
    let first = |count| fit::matches::first(matches, count, form.context);
    let fitting = fit::largest(matches.lines.len(), |count| answer(&first(count)));
    let fitting = fitting.or_else(|| {
        // Even those that belong together are too long.
        fit::largest(caps::GREP_LINE, |size| {
            answer(&fit::matches::shortened(&first(0), size))
        })
    });
    fitting.map(|made| set_apart(form, made))
}

fn page_of(page: &Page, budget: usize, form: Form) -> PageResult {
    let cut = Cut {
        tail: form.tail,
        whole_characters: !form.base64,
    };
    let page = fit::page(page, budget, cut);
    let mut result = PageResult::from(&page);
    if form.base64 {
        result.data = base64::encode(&page.bytes);
        result.encoding = Encoding::Base64;
    }
    result
}

/// The first entries of a report, grants before commands: these can be searched for by a query.
fn access(report: &AccessReport, count: usize) -> AccessAnswer {
    let mut report = report.clone();
    let (grants, commands) = (report.grants.len(), report.commands.len());
    report.grants.truncate(count);
    report.commands.truncate(count.saturating_sub(grants));
    let missing = u32::try_from(commands - report.commands.len()).unwrap_or(u32::MAX);
    report.more_commands = report.more_commands.saturating_add(missing);
    AccessAnswer {
        more_grants: grants - report.grants.len(),
        report,
    }
}

fn list(jobs: &[JobSummary], count: usize) -> JobList {
    JobList {
        jobs: jobs.iter().take(count).cloned().collect(),
        more: jobs.len().saturating_sub(count),
    }
}

/// The first entries of a page; the next one begins with those left out.
fn past(page: &HistoryPage, count: usize) -> HistoryPage {
    let entries: Vec<HistoryEntry> = page.entries.iter().take(count).cloned().collect();
    let left_out = page.entries.get(count);
    HistoryPage {
        next: left_out.map_or(page.next, |entry| Some(entry.seq.saturating_add(1))),
        entries,
    }
}

fn too_large() -> Refusal {
    Refusal::new(
        Code::TooLarge,
        format!("the answer exceeds {MAX_TEXT} bytes even without output"),
    )
    .next("ask for less")
}
