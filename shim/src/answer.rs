//! Turns the daemon's answers into tool results: one JSON as data, and the same as text with fenced output. A failed
//! command is data; only a refusal is an error. Every result is truncated to fit before it is built.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_wire::outcome::{JobReport, JobSummary, Matches, OutputPart, Page, State};
use remit_wire::request_id;
use remit_wire::result::{Encoding, JobResult, MatchResult, PageResult};
use remit_wire::{HistoryEntry, HistoryPage, JobQuery, PartQuery, Reply, Request};
use rmcp::model::{CallToolResult, ContentBlock};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::access::{self, Question};
use crate::arguments::{DaemonCall, PlanStep};
use crate::brief;
use crate::host;
use crate::text_fence;
use crate::tools::Tool;
use crate::truncate::{self, Cut, MAX_TEXT};

/// A job, and the part of its output that was asked for.
#[derive(Serialize, JsonSchema)]
pub struct JobAnswer {
    #[serde(flatten)]
    job: JobResult,
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<PageResult>,
    #[serde(skip_serializing_if = "Option::is_none")]
    matches: Option<MatchResult>,
}

#[derive(Serialize, JsonSchema)]
pub struct JobList {
    /// Without job_id: my jobs, newest first.
    jobs: Vec<JobSummary>,
    /// Jobs left out of the list for its length.
    more: usize,
}

/// What the answer to a call is made of, apart from the answer itself.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    tool: Tool,
    base64: bool,
    detail: bool,
    pub plan: PlanStep,
    tail: bool,
    context: u32,
    question: Question,
    /// Facts of the host in general, not of a section.
    is_overview: bool,
}

impl Form {
    pub fn from_call(tool: Tool, call: &DaemonCall) -> Self {
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
            detail: call.detail,
            plan: call.plan,
            tail,
            context,
            question: match &call.request {
                Request::Access(access) if access.query.is_some() => Question::Query,
                Request::Access(access) if access.argv.is_some() || access.name.is_some() => {
                    Question::One
                }
                _ => Question::All,
            },
            is_overview: matches!(&call.request, Request::Host { sections } if sections.is_empty()),
        }
    }

    fn fitted(self, job: JobResult) -> JobResult {
        let purpose = match self.tool {
            tool if tool.starts() => brief::Purpose::Start,
            Tool::JobStop => brief::Purpose::Stop,
            _ => brief::Purpose::Follow,
        };
        match self.detail {
            true => job,
            false => brief::shortened(job, purpose),
        }
    }
}

#[derive(Debug)]
pub struct Answer {
    /// The answer as JSON, in which every character can be seen.
    data: String,
    /// The same as text, with the job's output between marks; without output it is the JSON.
    text: Option<String>,
    is_error: bool,
    /// It is a job that has to be approved, or denied.
    is_awaiting_person: bool,
}

impl Answer {
    pub fn new(form: Form, reply: Result<Reply, Refusal>) -> Self {
        reply
            .and_then(|reply| made(form, reply))
            .unwrap_or_else(|refusal| Self::refused(&refusal))
    }

    pub fn refused(refusal: &Refusal) -> Self {
        Self::error(json!({ "error": refusal }))
    }

    /// Returns an error with this content.
    pub fn error(content: Value) -> Self {
        Self {
            is_error: true,
            ..text_fence::visible(content.to_string()).into()
        }
    }

    pub fn text(&self) -> &str {
        self.text.as_deref().unwrap_or(&self.data)
    }

    pub fn data(&self) -> &str {
        &self.data
    }

    pub fn is_error(&self) -> bool {
        self.is_error
    }

    pub fn is_awaiting_person(&self) -> bool {
        self.is_awaiting_person
    }
}

impl From<String> for Answer {
    fn from(data: String) -> Self {
        Self {
            data,
            text: None,
            is_error: false,
            is_awaiting_person: false,
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
        // The JSON was made by serde, so it parses.
        result.structured_content = serde_json::from_str(&answer.data).ok();
        result
    }
}

fn made(form: Form, reply: Reply) -> Result<Answer, Refusal> {
    match (form.tool, reply) {
        (
            Tool::Run | Tool::Change | Tool::Plan | Tool::Job | Tool::JobStop,
            Reply::Job { report, part },
        ) => match &part {
            None => job(form, &report),
            Some(OutputPart::Page(page)) => paged(form, &report, page),
            Some(OutputPart::Matches(matches)) => searched(form, &report, matches),
        }
        .ok_or_else(too_large),
        (Tool::Job, Reply::Jobs(jobs)) => plain(jobs.len(), |count| list(&jobs, count)),
        (Tool::History, Reply::History(page)) => {
            plain(page.entries.len(), |count| past(&page, count))
        }
        (Tool::Access, Reply::Access(report)) => {
            let entries = report.grants.len() + report.commands.len();
            plain(entries, |count| {
                access::answer(&report, form.question, count)
            })
        }
        (Tool::Host, Reply::Host(report)) => {
            let report = host::brief(&report, form.is_overview).ok_or_else(too_large)?;
            let report = truncate::without_largest_sections(report);
            plain(0, |_| &report)
        }
        (Tool::Host, Reply::HostChanges(changes)) => {
            let changes = host::changes(&changes).ok_or_else(too_large)?;
            plain(0, |_| &changes)
        }
        (
            _,
            Reply::Job { .. }
            | Reply::Followed(_)
            | Reply::Jobs(_)
            | Reply::Access(_)
            | Reply::History(_)
            | Reply::Host(_)
            | Reply::HostChanges(_)
            | Reply::Snapshots(_)
            | Reply::Uploaded(_)
            | Reply::Dropped(_),
        ) => Err(another()),
    }
}

pub fn another() -> Refusal {
    Refusal::new(Code::DaemonUnavailable, "remitd answered another question")
        .next("tell the user that remitd and mcp-shim do not fit together")
}

/// An answer in which nothing is a job's.
fn plain<T: Serialize>(max: usize, make: impl Fn(usize) -> T) -> Result<Answer, Refusal> {
    let (_, data) = truncate::largest(max, make).ok_or_else(too_large)?;
    Ok(data.into())
}

fn job(form: Form, report: &JobReport) -> Option<Answer> {
    let result = |budget| match form.tool {
        // A caller that stops a job asks if it has ended, and `job` has the output.
        Tool::JobStop => JobResult::without_output(report),
        _ => JobResult::from(truncate::report(report, budget).as_ref()),
    };
    let answer = |budget| JobAnswer {
        job: form.fitted(result(budget)),
        page: None,
        matches: None,
    };
    truncate::largest(truncate::output(report), answer).map(|made| fence_output(form, made))
}

/// Returns the answer with the job's output between marks in its text, about as long as the JSON.
fn fence_output(form: Form, (mut answer, data): (JobAnswer, String)) -> Answer {
    let is_error = form.tool.starts() && is_refused(&answer.job);
    let is_awaiting_person = form.tool.starts() && answer.job.state == State::AwaitingApproval;
    let JobAnswer { job, page, matches } = &mut answer;
    let pieces = text_fence::taken(job, page.as_mut(), matches.as_mut());
    let text = (!pieces.is_empty()).then(|| {
        let rest = serde_json::to_string(&answer).unwrap_or_default();
        text_fence::text(rest, &pieces, || request_id::fresh().ok())
    });
    Answer {
        data,
        text,
        is_error,
        is_awaiting_person,
    }
}

/// Whether a job was refused after all while it waited. One that still waits for a person is no failure.
fn is_refused(job: &JobResult) -> bool {
    job.code.is_some() && job.state != State::AwaitingApproval
}

// A caller that asks for a part already has the rest of the output.

fn paged(form: Form, report: &JobReport, page: &Page) -> Option<Answer> {
    let answer = |budget| JobAnswer {
        job: form.fitted(JobResult::without_output(report)),
        page: Some(page_of(page, budget, form)),
        matches: None,
    };
    truncate::largest(page.bytes.len(), answer).map(|made| fence_output(form, made))
}

fn searched(form: Form, report: &JobReport, matches: &Matches) -> Option<Answer> {
    let answer = |shown: &Matches| JobAnswer {
        job: form.fitted(JobResult::without_output(report)),
        page: None,
        matches: Some(MatchResult::from(shown)),
    };
    let first = |count| truncate::matches::first(matches, count, form.context);
    let fitting = truncate::largest(matches.lines.len(), |count| answer(&first(count)));
    let fitting = fitting.or_else(|| {
        // Even the smallest group of lines is too long.
        truncate::largest(caps::GREP_LINE, |size| {
            answer(&truncate::matches::shortened(&first(0), size))
        })
    });
    fitting.map(|made| fence_output(form, made))
}

fn page_of(page: &Page, budget: usize, form: Form) -> PageResult {
    let cut = Cut {
        tail: form.tail,
        whole_characters: !form.base64,
    };
    let page = truncate::page(page, budget, cut);
    let mut result = PageResult::from(&page);
    if form.base64 {
        result.data = STANDARD.encode(&page.bytes);
        result.encoding = Encoding::Base64;
    }
    result
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

pub fn too_large() -> Refusal {
    Refusal::new(
        Code::TooLarge,
        format!("the answer exceeds {MAX_TEXT} bytes even without output"),
    )
    .next("ask for less")
}
