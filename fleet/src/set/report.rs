//! The state of a set as one answer: what hosts answered in groups, and which were not asked. Pure.

use std::collections::BTreeMap;

use remit_common::names::JobId;
use serde_json::{Map, Value, json};

use super::order::{Order, Stage};
use super::state::{Board, Set};
use crate::approvals::request::Digest;
use crate::engine::group::{self, Fold};
use crate::engine::report::{self, largest, size};
use crate::host_name::HostName;
use crate::link::Unreachable;
use crate::link::answer::{self, ToolResult};

/// Bytes of a plan's id. Those of remit have 32.
const PLAN: usize = 64;

/// Returns the answer about the set in at most `budget` bytes.
pub fn report(set: &Set, budget: usize) -> Map<String, Value> {
    let board = set.snapshot();
    let own = own(set, &board, budget / 2);
    let outcomes = set.hosts().iter().zip(board.outcomes);
    let outcomes = outcomes.filter_map(|(host, outcome)| {
        let outcome = outcome?.map(|answered| without_undo(without_approval(answered.result)));
        Some((host.to_string(), outcome))
    });
    let grouped = group::group(outcomes, Fold::Exact);
    report::fitted_with(&grouped, own, budget)
}

/// Returns what this program itself knows, in at most `budget` bytes if its lists of hosts can be cut to that. No host has a
/// key in it.
fn own(set: &Set, board: &Board, budget: usize) -> Map<String, Value> {
    let lists = HostLists::new(set.hosts(), board);
    let id = set.id.to_string();
    let (state, next) = state(&id, board, set.order(), lists.has_lost());
    let with = |failed, names| {
        let mut own = Map::from_iter([
            ("set".to_owned(), json!(id)),
            ("state".to_owned(), json!(state)),
            ("hosts_asked".to_owned(), json!(set.hosts().len())),
            (
                "canary".to_owned(),
                json!(set.hosts().first().map(HostName::as_str)),
            ),
            ("next".to_owned(), json!(next)),
        ]);
        lists.add(&mut own, failed, names);
        own
    };
    let all = set.hosts().len();
    // A host that failed is named before all others.
    let failed = largest(0, all, |failed| size(&with(failed, 0)) <= budget);
    with(
        failed,
        largest(0, all, |names| size(&with(failed, names)) <= budget),
    )
}

/// Hosts by what has become of their requests.
struct HostLists<'a> {
    failed: Vec<&'a str>,
    stages: [(&'static str, Vec<&'a str>); 3],
    ids: [(&'static str, BTreeMap<&'a str, &'a str>); 3],
}

impl<'a> HostLists<'a> {
    fn new(hosts: &'a [HostName], board: &'a Board) -> Self {
        let all = |wanted: Stage| -> Vec<&str> {
            let all = hosts.iter().zip(&board.stages);
            all.filter_map(|(host, stage)| (*stage == wanted).then_some(host.as_str()))
                .collect()
        };
        let ids = |find: fn(&Map<String, Value>) -> Option<&str>| -> BTreeMap<&str, &str> {
            let all = hosts.iter().zip(&board.outcomes);
            all.filter_map(|(host, outcome)| {
                let data = &outcome.as_ref()?.as_ref().ok()?.result.data;
                Some((host.as_str(), find(data)?))
            })
            .collect()
        };
        let lost = hosts.iter().zip(&board.lost);
        let lost = lost.filter_map(|(host, job)| Some((host.as_str(), lost_job(job.as_deref()?)?)));
        Self {
            failed: all(Stage::Failed),
            stages: [
                ("not_sent", all(Stage::NotSent)),
                ("withdrawn", all(Stage::Withdrawn)),
                ("awaiting_approval", all(Stage::Waiting)),
            ],
            ids: [
                ("digests", ids(digest)),
                ("undos", ids(undo)),
                ("lost", lost.collect()),
            ],
        }
    }

    fn has_lost(&self) -> bool {
        let mut ids = self.ids.iter();
        ids.any(|(key, ids)| *key == "lost" && !ids.is_empty())
    }

    /// Adds so many hosts that failed and so many of each other list, and counts the others.
    fn add(&self, own: &mut Map<String, Value>, failed: usize, names: usize) {
        let mut add = |key: &str, listed: Value, names: usize, all: usize| {
            if all > 0 {
                own.insert(key.to_owned(), listed);
            }
            if all > names {
                own.insert(format!("more_{key}"), json!(all - names));
            }
        };
        let listed: Vec<_> = self.failed.iter().take(failed).collect();
        add("failed", json!(listed), failed, self.failed.len());
        for (key, hosts) in &self.stages {
            let listed: Vec<_> = hosts.iter().take(names).collect();
            add(key, json!(listed), names, hosts.len());
        }
        for (key, ids) in &self.ids {
            let listed: BTreeMap<_, _> = ids.iter().take(names).collect();
            add(key, json!(listed), names, ids.len());
        }
    }
}

fn digest(data: &Map<String, Value>) -> Option<&str> {
    let digest = data.get("approval")?.get("digest")?.as_str()?;
    Digest::parse(digest).map(|_| digest)
}

/// Returns the id, which becomes part of another call, in its strict form.
fn lost_job(id: &str) -> Option<&str> {
    id.parse::<JobId>().ok().map(|_| id)
}

/// Returns the id of a commit that can be undone.
fn undo(data: &Map<String, Value>) -> Option<&str> {
    let id = data.get("undo")?.as_str()?;
    id.parse::<JobId>().ok().map(|_| id)
}

fn state(id: &str, board: &Board, order: Order, has_lost: bool) -> (&'static str, String) {
    let has = |wanted: Stage| board.stages.contains(&wanted);
    let goes_on = has(Stage::Sent) || has(Stage::Queued) || has(Stage::Withdrawing);
    let follow = format!("job {{\"set\": \"{id}\"}} shows it");
    if board.is_over(order) {
        let is_cut = has(Stage::NotSent) || has(Stage::Withdrawn);
        let lost = match has_lost {
            true => {
                "; jobs in lost may still wait or run: job shows and job_stop ends each, with on and job_id"
            }
            false => "",
        };
        return match board.stages.iter().all(|stage| *stage == Stage::Well) {
            true => ("ended", "each host did it".to_owned()),
            false if is_cut => (
                "stopped",
                format!(
                    "hosts in not_sent and withdrawn did nothing; look at those in failed{lost}"
                ),
            ),
            false => (
                "ended",
                format!("not each host did it: look at those in failed{lost}"),
            ),
        };
    }
    if !goes_on && has(Stage::Waiting) {
        let next = format!(
            "a person must approve it: tell your user 'remit-fleet approve {id}' for a terminal of their own, or \
             'remit approve' on each host; the set goes on by itself while this server runs; {follow}"
        );
        return ("awaiting_approval", next);
    }
    ("running", follow)
}

/// Takes out what differs on each host: the line and the digest of an approval.
fn without_approval(mut result: ToolResult) -> ToolResult {
    if answer::state(&result.data) == "awaiting_approval"
        && let Some(Value::Object(approval)) = result.data.get_mut("approval")
    {
        ["line", "digest", "expires_ms"]
            .iter()
            .for_each(|key| drop(approval.remove(*key)));
        result.data.remove("next");
    }
    result
}

/// Puts a word where the id of the commit differs on each host.
fn without_undo(mut result: ToolResult) -> ToolResult {
    if let Some(id) = undo(&result.data).map(str::to_owned) {
        result.data.remove("undo");
        result.data.values_mut().for_each(|value| hide(&id, value));
    }
    result
}

fn hide(id: &str, value: &mut Value) {
    match value {
        // The id of a job stays one.
        Value::String(text) if text == id => {}
        Value::String(text) => *text = text.replace(id, "ID"),
        Value::Array(all) => all.iter_mut().for_each(|value| hide(id, value)),
        Value::Object(all) => all.values_mut().for_each(|value| hide(id, value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What a plan on many hosts means: one answer, and the plan of each host.
pub fn planned(
    outcomes: Vec<(HostName, Result<ToolResult, Unreachable>)>,
) -> (Vec<(String, group::Outcome)>, BTreeMap<HostName, String>) {
    let mut plans = BTreeMap::new();
    let mut answers = Vec::new();
    for (host, outcome) in outcomes {
        let outcome = outcome.map(|mut result| {
            if let Some(Value::String(plan)) = result.data.remove("plan_id")
                && !result.is_error
                && plan.len() <= PLAN
            {
                plans.insert(host.clone(), plan);
            }
            // They differ on each host. Its page of the change has its digest.
            ["digest", "next"]
                .iter()
                .for_each(|key| drop(result.data.remove(*key)));
            result
        });
        answers.push((host.to_string(), outcome));
    }
    (answers, plans)
}

#[cfg(test)]
mod tests {
    use remit_common::names::SetId;

    use super::*;
    use crate::link::answer::ServerInfo;
    use crate::link::{Answered, HostCall};
    use crate::set::state::SetCall;

    fn set(hosts: usize, answer: impl Fn(usize) -> (Stage, Value)) -> Set {
        let hosts: Vec<HostName> = (0..hosts)
            .map(|number| format!("web{number}.example.com").parse().unwrap())
            .collect();
        let call = SetCall {
            hosts,
            call: HostCall {
                tool: "change".to_owned(),
                arguments: Map::new(),
                set: None,
                behalf: None,
                client: String::new(),
                until: None,
                may_become_master: false,
                follows: false,
                is_patient: false,
            },
            plans: None,
            order: Order {
                concurrency: 64,
                max_errors: 0,
            },
        };
        let set = Set::new(SetId([7; 16]), call);
        for number in 0..set.hosts().len() {
            let (stage, data) = answer(number);
            let answered = Answered {
                result: ToolResult {
                    is_error: false,
                    data: data.as_object().unwrap().clone(),
                    text: String::new(),
                },
                server: ServerInfo::default(),
                asked_ms: (0, 0),
            };
            let mut board = set.board();
            board.stages[number] = stage;
            board.outcomes[number] = Some(Ok(answered));
        }
        set
    }

    fn waiting(hosts: usize) -> Set {
        set(hosts, |number| {
            let data = json!({
                "job_id": format!("{number:032x}"), "state": "awaiting_approval",
                "approval": {"by": ["%sre"], "digest": format!("{number:064x}"), "line": "remit approve"},
            });
            (Stage::Waiting, data)
        })
    }

    /// Answers to a commit as mcp-shim sends them. The last host failed.
    fn committed(hosts: usize) -> Set {
        set(hosts, |number| {
            let job = format!("{:032x}", 1000 + number);
            if number + 1 == hosts {
                let data = json!({"job_id": job, "state": "exited", "exit": 1, "stdout": "it has changed\n"});
                return (Stage::Failed, data);
            }
            let id = format!("{number:032x}");
            let data = json!({
                "job_id": job, "state": "exited", "exit": 0, "undo": id,
                "stdout": format!("done: 1 change\nundo: remit undo {id} -m WHY\n"),
                "next": format!("to undo it: change {{\"undo\": \"{id}\", \"reason\": …}}"),
                "then": [{"command": "service.reload", "job_id": format!("{:032x}", 2000 + number), "state": "exited", "exit": 0}],
            });
            (Stage::Well, data)
        })
    }

    #[test]
    fn job_of_a_host_that_no_longer_answers_is_named() {
        let set = waiting(2);
        let job = format!("{:032x}", 1);
        {
            let mut board = set.board();
            board.stages = vec![Stage::Withdrawn, Stage::Failed];
            board.outcomes[1] = Some(Err(Unreachable("lost".to_owned())));
            board.lost = vec![Some("$(id)".to_owned()), Some(job.clone())];
        }
        let is_named = || {
            let report = report(&set, 24 << 10);
            let next = report["next"].as_str().unwrap();
            let is_named = next.contains("jobs in lost may still wait");
            (report.get("lost").cloned(), is_named)
        };
        let lost = json!({"web1.example.com": job});
        assert_eq!(is_named(), (Some(lost), true));
        // Another program may answer as mcp-shim, with a word that is no id.
        set.board().lost[1] = None;
        assert_eq!(is_named(), (None, false));
    }

    #[test]
    fn commits_that_ended_alike_are_one_group_and_the_failed_host_is_named() {
        for (hosts, budget) in [(2, 24 << 10), (64, 24 << 10), (64, 4096)] {
            let report = report(&committed(hosts), budget);
            assert!(size(&report) <= budget, "{hosts}: {}", size(&report));
            let failed = format!("web{}.example.com", hosts - 1);
            assert_eq!(report["failed"], json!([failed]), "{hosts} {budget}");
            assert_eq!(
                report["next"],
                "not each host did it: look at those in failed"
            );
            let groups = report["groups"].as_array().unwrap();
            assert_eq!(groups.len(), 2, "{report:?}");
            assert_eq!(
                groups[0]["stdout"],
                "done: 1 change\nundo: remit undo ID -m WHY\n"
            );
            assert_eq!(groups[1]["hosts"], json!([failed]));
            let undos = report["undos"].as_object().unwrap();
            assert_eq!(undos["web0.example.com"], "0".repeat(32));
            let more = report.get("more_undos").and_then(Value::as_u64);
            let more = usize::try_from(more.unwrap_or(0)).unwrap();
            assert_eq!(undos.len() + more, hosts - 1);
        }
    }

    #[test]
    fn answer_about_a_large_set_fits() {
        for (hosts, budget, is_whole) in [(3, 4096, true), (64, 24 << 10, true), (64, 4096, false)]
        {
            let report = report(&waiting(hosts), budget);
            assert!(size(&report) <= budget, "{hosts}: {}", size(&report));
            assert_eq!(report["state"], "awaiting_approval");
            assert_eq!(report["hosts_asked"], hosts);
            assert!(
                report["next"]
                    .as_str()
                    .unwrap()
                    .contains("remit-fleet approve")
            );
            for key in ["awaiting_approval", "digests"] {
                let listed = match &report[key] {
                    Value::Array(hosts) => hosts.len(),
                    Value::Object(digests) => digests.len(),
                    other => panic!("{other}"),
                };
                let more = report.get(&format!("more_{key}")).and_then(Value::as_u64);
                assert_eq!(more.is_none(), is_whole, "{hosts} {key}");
                let more = usize::try_from(more.unwrap_or(0)).unwrap();
                assert!(listed > 5 || is_whole, "{listed}");
                assert_eq!(listed + more, hosts, "{key}");
            }
        }
    }
}
