//! `logs` on many hosts: one timeline of those whose journals can be read, and the answers of the others.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::timeline::{HostLog, Timeline};
use super::{Engine, HostOutcome};
use crate::host_name::HostName;
use crate::link::answer::is_well;
use crate::link::{Answered, HostCall};

/// Returns true if the call asks each host for its journal.
pub fn is_asked(call: &HostCall) -> bool {
    call.tool == "run" && call.arguments.get("name").and_then(Value::as_str) == Some("logs")
}

/// Pages of an output that does not fit into one answer. A longer one is no part of the timeline.
const PAGES: usize = 8;
/// Bytes of a page. mcp-shim sends what fits.
const PAGE: u64 = 65_536;

/// Takes the answers that are journals out of all. Each of these hosts is asked for the time at which it started: its clock is
/// compared with the time of the call. `end` is when nothing more is asked; the timeline then has what came before. No
/// timeline: no host answered with a journal.
pub async fn merged<E: Future<Output = &'static str>>(
    engine: &Arc<Engine>,
    call: &HostCall,
    outcomes: Vec<(String, HostOutcome)>,
    end: impl Fn() -> E,
) -> (Option<Timeline>, Vec<(String, HostOutcome)>) {
    let journals: Vec<(HostName, &Answered)> = outcomes
        .iter()
        .filter_map(|(host, outcome)| {
            let answered = outcome.as_ref().ok()?;
            text(answered)?;
            Some((host.parse().ok()?, answered))
        })
        .collect();
    // As the first question: for all hosts of the call.
    let call = &HostCall {
        may_become_master: call.may_become_master && engine.keeps_masters(outcomes.len()),
        ..call.clone()
    };
    let details = journals
        .iter()
        .map(|(host, answered)| (host.clone(), Arc::new(detail(call, answered))));
    let jobs = details.collect();
    let details = engine.call_each(jobs, end(), None).await;
    let texts = whole(engine, call, &journals, end).await;
    let logs: Vec<HostLog> = journals
        .iter()
        .zip(&details)
        .zip(texts)
        .map(|(((host, answered), (_, detail)), text)| HostLog {
            host: host.to_string(),
            text,
            skew_ms: skew_ms(answered, detail),
        })
        .collect();
    let (timeline, others) = Timeline::merge(&logs);
    let others: BTreeSet<&str> = others.into_iter().collect();
    let merged = logs.iter().map(|log| &log.host);
    let merged: BTreeSet<String> = merged
        .filter(|host| !others.contains(host.as_str()))
        .cloned()
        .collect();
    let mut rest = outcomes;
    rest.retain(|(host, _)| !merged.contains(host));
    let timeline = (!merged.is_empty()).then_some(timeline);
    (timeline, rest)
}

/// Returns the output of each host. One that an answer has cut in the middle is read page by page.
async fn whole<E: Future<Output = &'static str>>(
    engine: &Arc<Engine>,
    call: &HostCall,
    journals: &[(HostName, &Answered)],
    end: impl Fn() -> E,
) -> Vec<String> {
    let own = |answered| text(answered).unwrap_or_default().to_owned();
    let mut texts: Vec<String> = journals.iter().map(|(_, answered)| own(answered)).collect();
    let is_cut = |answered: &Answered| answered.result.data.contains_key("truncated");
    let cut = journals.iter().enumerate();
    let mut cut: Vec<(usize, Pages)> = cut
        .filter(|(_, (_, answered))| is_cut(answered))
        .map(|(at, _)| (at, Pages::default()))
        .collect();
    for _ in 0..PAGES {
        let calls = cut.iter().filter_map(|(at, pages)| {
            let (host, answered) = journals.get(*at)?;
            Some((host.clone(), Arc::new(pages.next(call, answered))))
        });
        let answers = engine.call_each(calls.collect(), end(), None).await;
        let mut open = Vec::new();
        for ((at, mut pages), (_, answer)) in cut.into_iter().zip(answers) {
            match answer.ok().and_then(|answer| pages.add(&answer)) {
                Some(true) => {
                    if let Some(text) = texts.get_mut(at) {
                        *text = pages.text;
                    }
                }
                Some(false) => open.push((at, pages)),
                // It stays as it is, which is no journal.
                None => {}
            }
        }
        cut = open;
        if cut.is_empty() {
            break;
        }
    }
    texts
}

/// What is read of one output.
#[derive(Debug, Default)]
struct Pages {
    text: String,
    offset: u64,
}

impl Pages {
    fn next(&self, call: &HostCall, answered: &Answered) -> HostCall {
        let job = answered.result.data.get("job_id").cloned();
        let pairs = [
            ("job_id".to_owned(), job.unwrap_or_default()),
            ("offset".to_owned(), self.offset.into()),
            ("limit".to_owned(), PAGE.into()),
        ];
        about_job(call, Map::from_iter(pairs))
    }

    /// Adds a page. Returns true after the last one; `None` if the answer is no page that goes on.
    fn add(&mut self, answer: &Answered) -> Option<bool> {
        let page = answer.result.data.get("page")?;
        let next = page.get("next")?.as_u64()?;
        self.text += page.get("data")?.as_str()?;
        let is_last = page.get("eof")?.as_bool()?;
        let goes_on = is_last || next > self.offset;
        self.offset = next;
        goes_on.then_some(is_last)
    }
}

fn text(answered: &Answered) -> Option<&str> {
    let data = &answered.result.data;
    let has_ended = is_well(data) && !answered.result.is_error;
    data.get("stdout")
        .and_then(Value::as_str)
        .filter(|_| has_ended)
}

/// The call for all that the host knows of the job.
fn detail(call: &HostCall, answered: &Answered) -> HostCall {
    let job = answered.result.data.get("job_id").cloned();
    let pairs = [
        ("job_id".to_owned(), job.unwrap_or_default()),
        ("detail".to_owned(), true.into()),
    ];
    about_job(call, Map::from_iter(pairs))
}

/// A call for what is there now: the job has ended, and a host that answers otherwise is not asked again.
fn about_job(call: &HostCall, arguments: Map<String, Value>) -> HostCall {
    HostCall {
        tool: "job".to_owned(),
        arguments,
        follows: false,
        ..call.clone()
    }
}

/// Returns by how much the host's start of the job is outside the time of the call. 0 if the host does not say.
fn skew_ms(answered: &Answered, detail: &HostOutcome) -> i64 {
    let started = detail
        .as_ref()
        .ok()
        .and_then(|detail| detail.result.data.get("started_ms")?.as_i64());
    let (from, to) = answered.asked_ms;
    let time = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    match started {
        Some(started) if started > time(to) => started.saturating_sub(time(to)),
        Some(started) if started < time(from) => started.saturating_sub(time(from)),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::link::answer::{ServerInfo, ToolResult};

    fn answered(data: Value) -> Answered {
        Answered {
            result: ToolResult {
                is_error: false,
                data: data.as_object().unwrap().clone(),
                text: String::new(),
            },
            server: ServerInfo::default(),
            asked_ms: (1_000_000, 1_000_500),
        }
    }

    #[test]
    fn clock_is_compared_with_the_time_of_the_call() {
        for (started, expect) in [
            (json!(1_000_000), 0),
            (json!(1_000_500), 0),
            (json!(1_003_500), 3000),
            (json!(900_000), -100_000),
            (json!(-1), -1_000_001),
            (json!(u64::MAX), 0),
            (json!("soon"), 0),
            (Value::Null, 0),
        ] {
            let detail = Ok(answered(json!({ "started_ms": started })));
            assert_eq!(skew_ms(&answered(json!({})), &detail), expect, "{started}");
        }
    }

    #[test]
    fn pages_are_added_as_long_as_they_go_on() {
        let mut pages = Pages::default();
        for (page, expect) in [
            (json!({"data": "a", "next": 1, "eof": false}), Some(false)),
            (json!({"data": "b", "next": 1, "eof": false}), None),
            (json!({"data": "c", "next": 2, "eof": true}), Some(true)),
            (json!({"data": 7, "next": 3, "eof": true}), None),
            (json!({}), None),
        ] {
            let answer = answered(json!({ "page": page }));
            assert_eq!(pages.add(&answer), expect, "{page}");
        }
        assert_eq!((&*pages.text, pages.offset), ("abc", 2));
    }

    #[test]
    fn journal_is_the_output_of_a_job_that_ended_well() {
        for (data, expect) in [
            (
                json!({"state": "exited", "exit": 0, "stdout": "a"}),
                Some("a"),
            ),
            (json!({"state": "exited", "exit": 1, "stdout": "a"}), None),
            (
                json!({"state": "cancelled", "exit": 0, "stdout": "a"}),
                None,
            ),
            (json!({"state": "running", "stdout": "a"}), None),
            (json!({"state": "exited", "exit": 0}), None),
        ] {
            assert_eq!(text(&answered(data.clone())), expect, "{data}");
        }
    }
}
