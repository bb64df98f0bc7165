//! The state of a set as one answer: what hosts answered in groups, and which were not asked. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::end;
use super::order::{Order, Stage};
use super::state::{Board, Set};
use crate::approvals::request::Digest;
use crate::engine::group::{self, Fold};
use crate::engine::report::{self, largest, size};
use crate::host_name::HostName;
use crate::link::Unreachable;
use crate::link::answer::ToolResult;

/// Bytes of a plan's id. Those of remit have 32.
const PLAN: usize = 64;

/// Returns the answer about the set in at most `budget` bytes.
pub fn report(set: &Set, budget: usize) -> Map<String, Value> {
    let board = set.snapshot();
    let own = own(set, &board, budget / 2);
    let size = size(&own);
    let outcomes = set.hosts().iter().zip(board.outcomes);
    let outcomes = outcomes.filter_map(|(host, outcome)| {
        let outcome = outcome?.map(|answered| without_approval(answered.result));
        Some((host.to_string(), outcome))
    });
    let grouped = group::group(outcomes, Fold::Exact);
    let mut data = report::fitted(&grouped, budget.saturating_sub(size));
    data.extend(own);
    data
}

/// Returns what this program itself knows, in at most `budget` bytes if its lists of hosts can be cut to that. No host has a
/// key in it.
fn own(set: &Set, board: &Board, budget: usize) -> Map<String, Value> {
    let lists = HostLists::new(set.hosts(), board);
    let id = set.id.to_string();
    let (state, next) = state(&id, board, set.order());
    let with = |names| {
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
        lists.add(&mut own, names);
        own
    };
    with(largest(0, set.hosts().len(), |names| {
        size(&with(names)) <= budget
    }))
}

/// Hosts by what has become of their requests.
struct HostLists<'a> {
    stages: [(&'static str, Vec<&'a str>); 3],
    digests: BTreeMap<&'a str, &'a str>,
}

impl<'a> HostLists<'a> {
    fn new(hosts: &'a [HostName], board: &'a Board) -> Self {
        let all = |wanted: Stage| -> Vec<&str> {
            let all = hosts.iter().zip(&board.stages);
            all.filter_map(|(host, stage)| (*stage == wanted).then_some(host.as_str()))
                .collect()
        };
        let digests = hosts.iter().zip(&board.outcomes);
        let digests = digests.filter_map(|(host, outcome)| {
            let data = &outcome.as_ref()?.as_ref().ok()?.result.data;
            let digest = data.get("approval")?.get("digest")?.as_str()?;
            Digest::parse(digest).map(|_| (host.as_str(), digest))
        });
        Self {
            stages: [
                ("not_sent", all(Stage::NotSent)),
                ("withdrawn", all(Stage::Withdrawn)),
                ("awaiting_approval", all(Stage::Waiting)),
            ],
            digests: digests.collect(),
        }
    }

    /// Adds so many hosts of each list, and counts the others.
    fn add(&self, own: &mut Map<String, Value>, names: usize) {
        let mut add = |key: &str, listed: Value, all: usize| {
            if all > 0 {
                own.insert(key.to_owned(), listed);
            }
            if all > names {
                own.insert(format!("more_{key}"), json!(all - names));
            }
        };
        for (key, hosts) in &self.stages {
            let listed: Vec<_> = hosts.iter().take(names).collect();
            add(key, json!(listed), hosts.len());
        }
        let listed: BTreeMap<_, _> = self.digests.iter().take(names).collect();
        add("digests", json!(listed), self.digests.len());
    }
}

fn state(id: &str, board: &Board, order: Order) -> (&'static str, String) {
    let has = |wanted: Stage| board.stages.contains(&wanted);
    let goes_on = has(Stage::Sent) || has(Stage::Queued) || has(Stage::Withdrawing);
    let follow = format!("job {{\"set\": \"{id}\"}} shows it");
    if board.is_over(order) {
        let is_cut = has(Stage::NotSent) || has(Stage::Withdrawn);
        return match board.stages.iter().all(|stage| *stage == Stage::Well) {
            true => ("ended", "each host did it".to_owned()),
            false if is_cut => (
                "stopped",
                "hosts in not_sent and withdrawn did nothing; look at the others".to_owned(),
            ),
            false => (
                "ended",
                "not each host did it: look at the groups".to_owned(),
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
    if end::state(&result.data) == "awaiting_approval"
        && let Some(Value::Object(approval)) = result.data.get_mut("approval")
    {
        ["line", "digest", "expires_ms"]
            .iter()
            .for_each(|key| drop(approval.remove(*key)));
        result.data.remove("next");
    }
    result
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

    fn waiting(hosts: usize) -> Set {
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
            let data = json!({
                "job_id": format!("{number:032x}"), "state": "awaiting_approval",
                "approval": {"by": ["%sre"], "digest": format!("{number:064x}"), "line": "remit approve"},
            });
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
            board.stages[number] = Stage::Waiting;
            board.outcomes[number] = Some(Ok(answered));
        }
        set
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
