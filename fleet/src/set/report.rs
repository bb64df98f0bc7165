//! The state of a set as one answer: what hosts answered in groups, and which were not asked. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::end;
use super::order::{Order, Stage};
use super::state::{Board, Set};
use crate::approvals::request::Digest;
use crate::engine::group::{self, Fold};
use crate::engine::report;
use crate::host_name::HostName;
use crate::link::Unreachable;
use crate::link::answer::ToolResult;

/// Bytes of a plan's id. Those of remit have 32.
const PLAN: usize = 64;

/// Returns the answer about the set in at most `budget` bytes.
pub fn report(set: &Set, budget: usize) -> Map<String, Value> {
    let board = set.snapshot();
    let own = own(&set.id.to_string(), set.hosts(), &board, set.order());
    let size = serde_json::to_string(&own).map_or(0, |json| json.len());
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

/// Returns all that this program itself knows. No host has a key in it.
fn own(id: &str, hosts: &[HostName], board: &Board, order: Order) -> Map<String, Value> {
    let all = |wanted: Stage| -> Vec<&str> {
        let all = hosts.iter().zip(&board.stages);
        all.filter_map(|(host, stage)| (*stage == wanted).then_some(host.as_str()))
            .collect()
    };
    let (state, next) = state(id, board, order);
    let mut own = Map::from_iter([
        ("set".to_owned(), json!(id)),
        ("state".to_owned(), json!(state)),
        ("hosts_asked".to_owned(), json!(hosts.len())),
        (
            "canary".to_owned(),
            json!(hosts.first().map(HostName::as_str)),
        ),
        ("next".to_owned(), json!(next)),
    ]);
    for (key, stage) in [
        ("not_sent", Stage::NotSent),
        ("withdrawn", Stage::Withdrawn),
        ("awaiting_approval", Stage::Waiting),
    ] {
        let hosts = all(stage);
        if !hosts.is_empty() {
            own.insert(key.to_owned(), json!(hosts));
        }
    }
    let digests: BTreeMap<&str, &str> = hosts
        .iter()
        .zip(&board.outcomes)
        .filter_map(|(host, outcome)| {
            let data = &outcome.as_ref()?.as_ref().ok()?.result.data;
            let digest = data.get("approval")?.get("digest")?.as_str()?;
            Digest::parse(digest).map(|_| (host.as_str(), digest))
        })
        .collect();
    if !digests.is_empty() {
        own.insert("digests".to_owned(), json!(digests));
    }
    own
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
