//! Turns the daemon's answers into tool results: one JSON as data, and the same as text with fenced output. A failed
//! command is data; only a refusal is an error. Every result is truncated to fit before it is built.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use remit_common::caps;
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_wire::edits::COMMIT;
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
use crate::part_notes;
use crate::text_fence;
use crate::tools::Tool;
use crate::truncate::{self, Cut, MAX_TEXT};

/// Before the id, in the output of a commit.
const UNDO_LINE: &str = "undo: remit undo ";

/// A job, and the part of its output that was asked for.
#[derive(Serialize, JsonSchema)]
pub struct JobAnswer {
    #[serde(flatten)]
    job: JobResult,
    /// The id of a commit, for undo of change.
    #[serde(skip_serializing_if = "Option::is_none")]
    undo: Option<String>,
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
    listed: usize,
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
            listed: call.listed,
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
        Self::error(json!({ "error": refusal.clone().with_next() }))
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
        (Tool::Job, Reply::Jobs(jobs)) => {
            plain(jobs.len().min(form.listed), |count| list(&jobs, count))
        }
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
    let undo = undo_id(report);
    let answer = |budget| {
        let mut job = form.fitted(result(budget));
        if let Some(id) = &undo {
            name_tool(&mut job, id);
        }
        JobAnswer {
            job,
            undo: undo.clone(),
            page: None,
            matches: None,
        }
    };
    truncate::largest(truncate::output(report), answer).map(|made| fence_output(form, made))
}

/// Returns the id of a commit that can be undone, which `remit-commit` has printed.
fn undo_id(report: &JobReport) -> Option<String> {
    let name = report.command.split(' ').next();
    if name != Some(COMMIT) || report.ending.is_none() {
        return None;
    }
    let said = String::from_utf8_lossy(&report.stdout.head);
    let mut ids = said.lines().filter_map(|line| {
        let (id, _) = line.strip_prefix(UNDO_LINE)?.split_once(' ')?;
        id.parse::<JobId>().ok().map(|_| id.to_owned())
    });
    ids.next()
}

/// Puts the call of a tool where the result has the line that people type: in a job that line is refused.
fn name_tool(job: &mut JobResult, id: &str) {
    let typed = format!("remit undo {id} -m WHY");
    let call = format!("change {{\"undo\": \"{id}\", \"reason\": …}}");
    let sentences = job.then.iter_mut().map(|one| &mut one.cause);
    for sentence in sentences.chain(&mut job.next).chain(&mut job.cause) {
        *sentence = sentence.replace(&typed, &call);
    }
    job.next
        .get_or_insert_with(|| format!("to undo it: {call}"));
}

/// Returns the answer with the job's output between marks in its text, about as long as the JSON.
fn fence_output(form: Form, (mut answer, data): (JobAnswer, String)) -> Answer {
    let is_error = form.tool.starts() && is_refused(&answer.job);
    let is_awaiting_person = form.tool.starts() && answer.job.state == State::AwaitingApproval;
    let JobAnswer {
        job,
        undo: _,
        page,
        matches,
    } = &mut answer;
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

/// `note`: what may mislead in the part.
fn beside_part(form: Form, report: &JobReport, note: Option<String>) -> JobResult {
    let mut job = JobResult::without_output(report);
    job.notes.extend(note);
    form.fitted(job)
}

fn paged(form: Form, report: &JobReport, page: &Page) -> Option<Answer> {
    let answer = |budget| JobAnswer {
        job: beside_part(form, report, part_notes::page(page)),
        undo: None,
        page: Some(page_of(page, budget, form)),
        matches: None,
    };
    truncate::largest(page.bytes.len(), answer).map(|made| fence_output(form, made))
}

fn searched(form: Form, report: &JobReport, matches: &Matches) -> Option<Answer> {
    let answer = |shown: &Matches| JobAnswer {
        job: beside_part(form, report, part_notes::search(report, shown)),
        undo: None,
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

#[cfg(test)]
mod tests {
    use remit_common::outcome::FollowUp;
    use remit_wire::outcome::{Captured, Ending};
    use serde_json::Value;

    use super::*;

    fn answered(command: &str, next: Option<String>, then: Vec<FollowUp>) -> Value {
        let id = "ab".repeat(16);
        let stdout = format!("done: 1 change\nundo: remit undo {id} -m WHY\n");
        let ending = Ending {
            exit: Some(0),
            next,
            ..Ending::unmeasured(State::Exited, "x".to_owned(), true)
        };
        let report = JobReport {
            then,
            denials: Vec::new(),
            job: JobId([7; 16]),
            command: command.to_owned(),
            state: State::Exited,
            ending: Some(ending),
            started_ms: 0,
            waited_ms: 0,
            queue_position: None,
            enforced: None,
            stdout: Captured {
                total: stdout.len() as u64,
                head: stdout.into_bytes().into(),
                ..Captured::default()
            },
            stderr: Captured::default(),
            notes: Vec::new(),
            approval: None,
        };
        let call = DaemonCall::from(Request::Jobs { limit: 1 });
        let form = Form::from_call(Tool::Change, &call);
        let report = Box::new(report);
        let answer = Answer::new(form, Ok(Reply::Job { report, part: None }));
        serde_json::from_str(answer.data()).unwrap()
    }

    #[test]
    fn each_refusal_says_what_to_do_next() {
        for (refusal, expect) in [
            (Refusal::new(Code::InvalidArgs, "x"), "correct the request"),
            (Refusal::new(Code::InvalidArgs, "x").next("y"), "y"),
        ] {
            let answer = Answer::refused(&refusal);
            let value: Value = serde_json::from_str(answer.data()).unwrap();
            let next = value["error"]["next"].as_str().unwrap();
            assert!(next.starts_with(expect), "{next}");
        }
    }

    #[test]
    fn commit_has_the_id_of_its_undo() {
        let id = "ab".repeat(16);
        let call = format!("change {{\"undo\": \"{id}\", \"reason\": …}}");
        let failed = || FollowUp {
            command: "service.reload".to_owned(),
            job: None,
            state: State::Exited,
            exit: Some(1),
            cause: format!("the files stay changed; to undo that: remit undo {id} -m WHY"),
        };
        let typed = format!("the files stay changed; to undo that: remit undo {id} -m WHY");
        for (command, next, expect) in [
            ("plan.commit", None, Some(format!("to undo it: {call}"))),
            (
                "plan.commit then=x",
                Some(typed),
                Some(format!("the files stay changed; to undo that: {call}")),
            ),
            ("cat plan.commit", None, None),
        ] {
            let value = answered(command, next, vec![failed()]);
            let has_undo = expect.is_some();
            assert_eq!(value["next"].as_str(), expect.as_deref(), "{command}");
            assert_eq!(
                value["undo"].as_str(),
                has_undo.then_some(&*id),
                "{command}"
            );
            let cause = value["then"][0]["cause"].as_str().unwrap();
            assert_eq!(cause.ends_with(&call), has_undo, "{cause}");
        }
    }
}
