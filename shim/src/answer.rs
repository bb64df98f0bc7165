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
use serde_json::{Value, json};

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

/// The result of a tool.
pub fn result(form: Form, reply: Result<Reply, Refusal>) -> CallToolResult {
    match reply.and_then(|reply| made(form, reply)) {
        Ok((text, value)) => {
            let is_error = form.tool.starts() && is_refused(&value);
            with(text, value, is_error)
        }
        Err(refusal) => refused(&refusal),
    }
}

/// Whether a job was refused after all while it waited. One that still waits for a person is no failure.
fn is_refused(job: &Value) -> bool {
    let waits = json!(State::AwaitingApproval);
    job.get("code").is_some_and(Value::is_string) && job.get("state") != Some(&waits)
}

/// The result that tells a refusal.
pub fn refused(refusal: &Refusal) -> CallToolResult {
    let value = json!({ "error": refusal });
    with(quoted::visible(value.to_string()), value, true)
}

fn with(text: String, value: Value, is_error: bool) -> CallToolResult {
    let content = vec![ContentBlock::text(text)];
    let mut result = match is_error {
        true => CallToolResult::error(content),
        false => CallToolResult::success(content),
    };
    result.structured_content = Some(value);
    result
}

fn made(form: Form, reply: Reply) -> Result<(String, Value), Refusal> {
    match (form.tool, reply) {
        (Tool::Run | Tool::Change | Tool::Job | Tool::JobStop, Reply::Job { report, part }) => {
            match &part {
                None => job(&report),
                Some(Part::Page(page)) => paged(form, &report, page),
                Some(Part::Matches(matches)) => searched(form, &report, matches),
            }
            .ok_or_else(too_large)
        }
        (Tool::Job, Reply::Jobs(jobs)) => {
            fit::largest(jobs.len(), |count| list(&jobs, count)).ok_or_else(too_large)
        }
        (Tool::History, Reply::History(page)) => {
            fit::largest(page.entries.len(), |count| past(&page, count)).ok_or_else(too_large)
        }
        (Tool::Access, Reply::Access(mut report)) => {
            to_the_point(&mut report);
            let entries = report.grants.len() + report.commands.len();
            fit::largest(entries, |count| access(&report, count)).ok_or_else(too_large)
        }
        (Tool::Host, Reply::Host(report)) => {
            let report = serde_json::to_value(&report).map_err(|_| too_large())?;
            let report = fit::without_largest_sections(report);
            fit::largest(0, |_| &report).ok_or_else(too_large)
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

fn job(report: &JobReport) -> Option<(String, Value)> {
    let answer = |budget| JobAnswer {
        job: JobResult::from(&fit::report(report, budget)),
        page: None,
        matches: None,
    };
    fit::largest_made(fit::output(report), answer).map(set_apart)
}

/// The text of an answer with what the job wrote set apart. It is as long as the JSON, or but a little longer.
fn set_apart((mut answer, _, value): (JobAnswer, String, Value)) -> (String, Value) {
    let JobAnswer { job, page, matches } = &mut answer;
    let pieces = quoted::taken(job, page.as_mut(), matches.as_mut());
    let rest = serde_json::to_string(&answer).unwrap_or_default();
    let draw = || request_id::fresh().ok();
    (quoted::text(rest, &pieces, draw), value)
}

// Who asks for a part does not want the same output twice.

fn paged(form: Form, report: &JobReport, page: &Page) -> Option<(String, Value)> {
    let answer = |budget| JobAnswer {
        job: JobResult::without_output(report),
        page: Some(page_of(page, budget, form)),
        matches: None,
    };
    fit::largest_made(page.bytes.len(), answer).map(set_apart)
}

fn searched(form: Form, report: &JobReport, matches: &Matches) -> Option<(String, Value)> {
    let answer = |shown: &Matches| JobAnswer {
        job: JobResult::without_output(report),
        page: None,
        matches: Some(MatchResult::from(shown)),
    };
    let first = |count| fit::matches::first(matches, count, form.context);
    let fitting = fit::largest_made(matches.lines.len(), |count| answer(&first(count)));
    let fitting = fitting.or_else(|| {
        // Even those that belong together are too long.
        fit::largest_made(caps::GREP_LINE, |size| {
            answer(&fit::matches::shortened(&first(0), size))
        })
    });
    fitting.map(set_apart)
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
