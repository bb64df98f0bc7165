//! Plans of changes of files: edits to a request, output of the job and its checks to an answer. Pure, but accounts are looked up.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::unistd::{Group, User};
use remit_common::names::JobId;
use remit_common::outcome::Ending;
use remit_common::refusal::{Code, Refusal};
use remit_common::{caps, text};
use remit_edit::{Problem, Tabs, ViewText as _, packages};
use remit_plan::{Bundle, New, View, hex, risks, sha256};
use remit_wire::edits::{self, Accounts, EditText};
use remit_wire::outcome::{JobReport, State, Stream};
use remit_wire::result::JobResult;
use remit_wire::{Bytes, JobQuery, PageQuery, PartQuery, Request};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{brief, truncate};

/// Entries that an answer lists, and bytes of their diffs.
const ENTRIES: usize = 100;
const DIFFS: usize = 30 << 10;
/// Lines about what was left out.
const NOTES: usize = 20;
/// The bit of a mode with which others may read.
const OTHERS_READ: u32 = 0o004;
/// Why a diff of a copy has hashes. A key that a program makes there should not reach a model by itself.
const CLOSED: &str =
    "contents that others cannot read are not shown; to see one, print it in the program";
/// Bytes of the line that says why there is no plan.
const COMPLAINT: usize = 400;
/// A check gets this part of the bytes of the diffs for its output.
const OUTPUT: usize = 8;

#[derive(Debug, Serialize, JsonSchema)]
pub struct PlanAnswer {
    /// For change.
    plan_id: String,
    digest: String,
    entries: Vec<PlannedPath>,
    /// Paths left out.
    #[serde(skip_serializing_if = "is_zero")]
    more: usize,
    /// Unified; what is cut has a hash.
    diff: String,
    /// Packages, and what was left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    /// The job on the copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    ran: Option<Value>,
    /// Each as the result of a job, or with an error.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checks: Vec<Value>,
    next: String,
}

/// What a plan was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanSource {
    /// The caller wrote the new contents.
    Edits,
    /// A program made them in a copy of the machine.
    Copy,
}

/// A check's call, and its job or the refusal.
pub struct Checked<'a> {
    pub call: &'a str,
    pub end: Result<Box<JobReport>, Refusal>,
}

impl Checked<'_> {
    /// Returns that it ran and has failed. A check that was refused or could not start says nothing of the edits.
    fn fault(&self) -> Option<String> {
        let ending = self.end.as_ref().ok()?.ending.as_ref()?;
        let exit = ending.exit.filter(|exit| *exit != 0)?;
        let name = self.call.split_ascii_whitespace().next()?;
        (ending.state == State::Exited).then(|| format!("{name} failed (exit {exit})"))
    }
}

#[derive(Debug, Serialize, JsonSchema)]
struct PlannedPath {
    path: String,
    what: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    risks: Vec<String>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// The answer if a program on a copy has ended without a plan.
#[derive(Debug, Serialize)]
struct NoPlan {
    /// As in the answer with a plan.
    ran: JobResult,
    next: String,
}

struct Local;

impl Accounts for Local {
    fn uid(&self, name: &str) -> Option<u32> {
        Some(User::from_name(name).ok()??.uid.as_raw())
    }

    fn gid(&self, name: &str) -> Option<u32> {
        Some(Group::from_name(name).ok()??.gid.as_raw())
    }
}

/// Returns the input of the command that plans.
pub fn input(list: Vec<EditText>) -> Result<Bytes, Refusal> {
    let decode = |text: &str| STANDARD.decode(text).ok();
    let edits = list.into_iter().map(|edit| edit.edit(&Local, decode));
    let edits = edits
        .collect::<Result<Vec<_>, _>>()
        .map_err(|why| Refusal::new(Code::InvalidArgs, format!("argument 'edits': {why}")))?;
    let bytes = edits::encode(edits);
    match bytes.len() <= caps::STDIN {
        true => Ok(bytes.into()),
        false => {
            let most = caps::STDIN;
            let message = format!(
                "the edits have {} bytes, and at most {most} can be planned",
                bytes.len()
            );
            Err(Refusal::new(Code::TooLarge, message).next(
                "split them into several plans; or send a large content with 'remit put FILE', and give the name that \
                 it prints as 'upload'",
            ))
        }
    }
}

/// Returns true if the job has written a plan.
pub fn is_made(report: &JobReport) -> bool {
    report.ending.as_ref().is_some_and(Ending::has_succeeded)
}

/// Returns true if the job may still write a plan.
pub fn is_unfinished(report: &JobReport) -> bool {
    matches!(
        report.state,
        State::AwaitingApproval | State::Queued | State::Running
    )
}

/// Asks for the output from `offset` on.
pub fn page(job: JobId, offset: usize) -> Request {
    Request::Job(JobQuery {
        job,
        wait_ms: 0,
        part: Some(PartQuery::Page(PageQuery {
            stream: Stream::Stdout,
            offset: offset as u64,
            limit: u32::try_from(caps::PAGE).unwrap_or(u32::MAX),
            tail: false,
            whole_characters: false,
        })),
    })
}

fn notes(said: &[u8]) -> Vec<String> {
    let said = String::from_utf8_lossy(said);
    let more = said.lines().count().saturating_sub(NOTES);
    let shown = said.lines().take(NOTES).map(str::to_owned);
    shown
        .chain((more > 0).then(|| format!("{more} more")))
        .collect()
}

fn result(report: &JobReport, size: usize) -> JobResult {
    let result = JobResult::from(truncate::report(report, size).as_ref());
    brief::shortened(result, brief::Purpose::Start)
}

/// Returns what an agent reads of a check, with `size` bytes of its output.
fn checked(check: &Checked<'_>, size: usize) -> Value {
    match &check.end {
        Ok(report) => json!(JobResult {
            command: check.call.to_owned(),
            ..result(report, size)
        }),
        Err(refusal) => json!({ "command": check.call, "error": refusal }),
    }
}

/// Returns what to do after a plan. A check that has failed comes before the request.
fn next(job: JobId, checks: &[Checked<'_>]) -> String {
    match checks.iter().find_map(Checked::fault) {
        Some(fault) => {
            format!("nothing has changed; {fault}: correct the edits first, and plan again")
        }
        None => format!(
            "nothing has changed; change {{\"plan_id\": \"{job}\", \"reason\": …}} asks for exactly this, if a rule covers its paths: \
             access lists those of plan.commit"
        ),
    }
}

/// Returns why an ended job has made no plan, and what to do instead.
fn why_not(report: &JobReport) -> String {
    let ending = report.ending.as_ref();
    let exit = ending.and_then(|ending| ending.exit);
    exit.map_or_else(
        || ending.map_or_else(String::new, |ending| ending.cause.clone()),
        |exit| format!("it ended with status {exit}"),
    )
}

/// Returns the first line that the job wrote as its error, without the name of its program.
fn complaint(report: &JobReport) -> Option<String> {
    let said = String::from_utf8_lossy(&report.stderr.head);
    let line = said.lines().next()?;
    let why = line.split_once(": ").map_or(line, |(_, why)| why);
    (!why.is_empty()).then(|| text::line(why.as_bytes(), COMPLAINT))
}

/// Returns what to do if this job of edits or of an extraction has ended without a plan.
pub fn after_no_plan(report: &JobReport) -> String {
    let why = complaint(report).unwrap_or_else(|| why_not(report));
    let way = match why.ends_with(&Problem::Unreadable.to_string()) {
        true => {
            "; with \"private\": true, and a grant of plan.private, plan takes its new content as a whole, by write"
        }
        false => "",
    };
    format!("no plan was made, and no check ran: {why}{way}")
}

/// Returns the answer as JSON that fits if there is no plan of `tried`, the program on a copy, or `None`. `extraction`:
/// the job that should have made the plan. The copy of a program that has failed is gone.
pub fn no_plan(tried: &JobReport, extraction: Option<&JobReport>) -> Option<String> {
    let next = match extraction {
        Some(report) => after_no_plan(report),
        None => format!(
            "no plan was made, and no check ran: {}, so its copy of the server is gone; correct the program, and plan again",
            why_not(tried)
        ),
    };
    let answer = |size| NoPlan {
        ran: result(tried, size),
        next: next.clone(),
    };
    truncate::largest(truncate::output(tried), answer).map(|(_, data)| data)
}

/// Returns a refusal of a step after the program on a copy, with what that program did. Bounded, because its output is.
pub fn refused_after(tried: &JobReport, refusal: &Refusal) -> Value {
    json!({ "error": refusal, "ran": result(tried, DIFFS / OUTPUT) })
}

/// Returns the mode of a new content that others may not read.
fn closed_mode(view: &View<'_>) -> Option<u32> {
    let change = &view.entry.change;
    let is_file = matches!(change.makes(), Some(New::File(_))) && !change.is_of_lines();
    let meta = change.meta().filter(|_| is_file && view.new.is_some())?;
    (meta.mode & OTHERS_READ == 0).then_some(meta.mode)
}

/// Returns the diff of an entry, with size and hash instead of content that others will not be able to read.
fn open_diff(view: &View<'_>, most: usize) -> String {
    let (Some(mode), Some(new)) = (closed_mode(view), view.new) else {
        return view.brief(most, Tabs::Shown);
    };
    let (size, sha) = (new.len(), hex(&sha256(new)));
    format!(
        "[… {size} new bytes are not shown, sha256 {sha}: with mode {mode:04o} others cannot read them …]\n"
    )
}

/// Returns the answer as JSON that fits, or `None`. `made`: the job that wrote the plan. `tried`: the job on a copy.
/// Diffs are cut first, then entries, then notes: without `plan_id` the plan is of no use.
pub fn answer(
    made: &JobReport,
    tried: Option<&JobReport>,
    source: PlanSource,
    bundle: &Bundle,
    checks: &[Checked<'_>],
) -> Option<String> {
    let (plan, job) = (bundle.plan(), made.job);
    let mut notes = notes(&made.stderr.head);
    let is_of_copy = source == PlanSource::Copy;
    if is_of_copy && bundle.views().any(|view| closed_mode(&view).is_some()) {
        notes.insert(0, CLOSED.to_owned());
    }
    if let Some(packages) = packages(bundle.views()) {
        notes.insert(0, packages.to_string());
    }
    let fitted = |count: usize, size: usize, notes: &[String]| {
        let (mut diff, mut left) = (String::new(), size);
        for view in bundle.views() {
            let text = match source {
                PlanSource::Copy => open_diff(&view, left),
                PlanSource::Edits => view.brief(left, Tabs::Shown),
            };
            if !text.is_empty() && size > 0 {
                diff.push_str(&format!("{}:\n{text}", view.entry.path));
            }
            left = left.saturating_sub(text.len());
            if left == 0 {
                diff.push_str("[… the rest of the diffs is not shown; the digest covers it …]\n");
                break;
            }
        }
        let entry = |view: View<'_>| PlannedPath {
            path: view.entry.path.to_string(),
            what: view.what(),
            risks: risks(&view).iter().map(ToString::to_string).collect(),
        };
        PlanAnswer {
            plan_id: job.to_string(),
            digest: hex(&plan.digest()),
            entries: bundle.views().take(count).map(entry).collect(),
            more: plan.entries().len().saturating_sub(count),
            diff,
            notes: notes.to_vec(),
            ran: tried.map(|report| json!(result(report, size / OUTPUT))),
            checks: checks
                .iter()
                .map(|check| checked(check, size / OUTPUT))
                .collect(),
            next: next(job, checks),
        }
    };
    let some_notes = |count: usize| {
        let left_out = notes.len().saturating_sub(count);
        let shown = notes.iter().take(count).cloned();
        let more = (left_out > 0).then(|| format!("{left_out} notes are not shown"));
        shown.chain(more).collect::<Vec<_>>()
    };
    truncate::largest(DIFFS, |size| fitted(ENTRIES, size, &notes))
        .or_else(|| truncate::largest(ENTRIES, |count| fitted(count, 0, &notes)))
        .or_else(|| truncate::largest(notes.len(), |count| fitted(0, 0, &some_notes(count))))
        .map(|(_, data)| data)
}

#[cfg(test)]
mod tests {
    use remit_plan::{Change, Content, Entry, Metadata, Plan, PlanPath, Source};
    use remit_wire::outcome::Captured;

    use super::*;

    fn bundle(paths: usize) -> Bundle {
        let meta = Metadata {
            mode: 0o755,
            uid: 0,
            gid: 0,
        };
        let long = "x".repeat(240);
        let entry = |number: usize| Entry {
            path: PlanPath::new(format!("/srv/{long}/{long}/{number:08}")).unwrap(),
            change: Change::Create {
                new: New::Directory,
                meta,
            },
        };
        let plan = Plan::new((0..paths).map(entry).collect()).unwrap();
        Bundle::new(&plan, b"", b"").unwrap()
    }

    fn made(stderr: &str) -> JobReport {
        let stream = |text: &str| Captured {
            total: text.len() as u64,
            lines: 0,
            head: Bytes::from(text.as_bytes().to_vec()),
            tail: Bytes::new(),
        };
        JobReport {
            then: Vec::new(),
            denials: Vec::new(),
            job: JobId([7; 16]),
            command: "x".to_owned(),
            state: State::Exited,
            ending: None,
            started_ms: 0,
            waited_ms: 0,
            queue_position: None,
            enforced: None,
            stdout: stream(""),
            stderr: stream(stderr),
            notes: vec![],
            approval: None,
        }
    }

    #[test]
    fn failed_check_comes_before_the_request() {
        let ended = |state, exit| {
            let ending = Ending {
                exit,
                ..Ending::unmeasured(state, "x".to_owned(), true)
            };
            let report = JobReport {
                ending: Some(ending),
                ..made("")
            };
            Ok(Box::new(report))
        };
        let (good, bad) = (
            || ended(State::Exited, Some(0)),
            || ended(State::Exited, Some(1)),
        );
        let fault = "sshd.test failed (exit 1): correct the edits first";
        for (ends, fault) in [
            (vec![], None),
            (vec![good()], None),
            (vec![ended(State::NotStarted, Some(127))], None),
            (vec![Err(Refusal::new(Code::NotFound, "x"))], None),
            (vec![good(), bad()], Some(fault)),
        ] {
            let checks: Vec<Checked<'_>> = ends
                .into_iter()
                .map(|end| Checked {
                    call: "sshd.test file=/etc/ssh/sshd_config",
                    end,
                })
                .collect();
            let text = answer(&made(""), None, PlanSource::Edits, &bundle(1), &checks).unwrap();
            let value: Value = serde_json::from_str(&text).unwrap();
            let next = value["next"].as_str().unwrap();
            assert!(next.starts_with("nothing has changed; "), "{next}");
            assert!(
                next.contains(fault.unwrap_or("asks for exactly this")),
                "{next}"
            );
            assert_eq!(next.contains("change {"), fault.is_none(), "{next}");
        }
    }

    #[test]
    fn program_without_a_plan_is_shown_with_the_reason() {
        let ended = |exit, stdout: &str, stderr: &str| {
            let ending = Ending {
                exit,
                ..Ending::unmeasured(State::Exited, "its time was over".to_owned(), true)
            };
            JobReport {
                ending: Some(ending),
                stdout: made(stdout).stderr,
                ..made(stderr)
            }
        };
        let nothing = ended(Some(1), "", "remit-extract: the plan changes nothing\n");
        for (tried, extraction, why) in [
            (
                ended(Some(0), "hello\n", "oh\n"),
                Some(&nothing),
                "ran: the plan changes nothing",
            ),
            (
                ended(Some(3), "hello\n", "oh\n"),
                None,
                "ran: it ended with status 3, so its copy of the server is gone",
            ),
            (
                ended(None, "hello\n", "oh\n"),
                None,
                "ran: its time was over, so its copy",
            ),
        ] {
            let text = no_plan(&tried, extraction).unwrap();
            let value: Value = serde_json::from_str(&text).unwrap();
            let ran = &value["ran"];
            assert_eq!(
                (&ran["stdout"], &ran["stderr"]),
                (&json!("hello\n"), &json!("oh\n"))
            );
            assert_eq!(ran["job_id"], tried.job.to_string());
            let next = value["next"].as_str().unwrap();
            assert!(next.starts_with("no plan was made"), "{next}");
            assert!(next.contains(why), "{next}");
        }
        let refusal = Refusal::new(Code::RateLimited, "x");
        let value = refused_after(&ended(Some(0), "hello\n", ""), &refusal);
        assert_eq!(value["ran"]["stdout"], "hello\n");
        assert_eq!(value["error"]["code"], "rate_limited");
    }

    #[test]
    fn closed_content_of_a_copy_is_not_shown() {
        let key = b"-----BEGIN PRIVATE KEY-----\n";
        let planned = |mode, source| {
            let content = Content {
                size: key.len() as u64,
                sha256: sha256(key),
                source: Source::Bundle,
                capabilities: None,
                mtime: None,
            };
            let entry = Entry {
                path: PlanPath::new("/srv/new.key".to_owned()).unwrap(),
                change: Change::Create {
                    new: New::File(content),
                    meta: Metadata {
                        mode,
                        uid: 0,
                        gid: 0,
                    },
                },
            };
            let plan = Plan::new(vec![entry]).unwrap();
            let bundle = Bundle::new(&plan, key, b"").unwrap();
            answer(&made(""), None, source, &bundle, &[]).unwrap()
        };
        for (mode, source, is_shown) in [
            (0o600, PlanSource::Copy, false),
            (0o640, PlanSource::Copy, false),
            (0o644, PlanSource::Copy, true),
            (0o600, PlanSource::Edits, true),
        ] {
            let text = planned(mode, source);
            assert_eq!(text.contains("PRIVATE KEY"), is_shown, "{mode:o}: {text}");
            assert_eq!(text.contains(CLOSED), !is_shown, "{mode:o}: {text}");
            assert_eq!(text.contains(&hex(&sha256(key))), !is_shown, "{text}");
        }
    }

    #[test]
    fn content_that_no_plan_holds_can_be_an_upload() {
        let edit = EditText {
            path: "/srv/a".to_owned(),
            write: Some("x".repeat(caps::STDIN)),
            ..EditText::default()
        };
        let refusal = input(vec![edit]).unwrap_err();
        assert_eq!(refusal.code, Code::TooLarge);
        let next = refusal.next.unwrap();
        assert!(next.contains("'remit put FILE'"), "{next}");
    }

    #[test]
    fn file_that_cannot_be_read_is_planned_whole() {
        let said = format!(
            "remit-look: cannot edit '/etc/key': {}\n",
            Problem::Unreadable
        );
        let next = after_no_plan(&made(&said));
        assert!(next.contains("\"private\": true"), "{next}");
        let next = after_no_plan(&made("remit-look: cannot edit '/etc/key': it exists\n"));
        assert!(!next.contains("private"), "{next}");
    }

    #[test]
    fn plan_of_long_paths_has_its_id() {
        let many_notes = format!("{}\n", "n".repeat(4000)).repeat(15);
        for (paths, stderr) in [(100, ""), (150, ""), (100, many_notes.as_str())] {
            let text = answer(&made(stderr), None, PlanSource::Copy, &bundle(paths), &[]).unwrap();
            assert!(text.len() <= truncate::MAX_TEXT);
            let value: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["plan_id"], JobId([7; 16]).to_string());
            let next = value["next"].as_str().unwrap();
            assert!(next.contains("if a rule covers its paths"), "{next}");
            let listed = value["entries"].as_array().unwrap().len();
            assert_eq!(listed > 0, stderr.is_empty(), "{listed}");
            assert_eq!(listed + value["more"].as_u64().unwrap() as usize, paths);
            assert!(value["more"].as_u64().unwrap() > 0);
            let notes = value["notes"].as_array().map_or(0, Vec::len);
            assert_eq!(notes > 1, !stderr.is_empty(), "{notes}");
        }
    }
}
