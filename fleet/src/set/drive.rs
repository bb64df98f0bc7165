//! Carries a set from host to host: sends, follows each job to its end, withdraws.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::end;
use super::order::{Stage, Step};
use super::state::Set;
use crate::engine::{BETWEEN, Engine, HostOutcome};
use crate::host_name::HostName;
use crate::link::HostCall;

/// Questions about a job without an answer, one after another, until nobody knows how it ended.
const TRIES: u32 = 6;
/// Before the next try. It doubles.
const PAUSE: Duration = Duration::from_secs(1);
const WAIT_MS: u32 = 50_000;

/// An answer of the host at this position.
struct Heard {
    at: usize,
    outcome: HostOutcome,
    /// It was cancelled, and nothing of it ran.
    has_never_run: bool,
}

/// Runs until the set is over. Dropping it ends all calls; their jobs belong to the hosts.
pub async fn drive(engine: Arc<Engine>, set: Arc<Set>) {
    let mut tasks = JoinSet::new();
    let (events, mut news) = mpsc::unbounded_channel();
    let mut stops = set.news.subscribe();
    loop {
        while tasks.try_join_next().is_some() {}
        let step = {
            let mut board = set.board();
            let step = set.call.order.step(&board.stages, board.is_stopped);
            let (chosen, stage): (&[usize], _) = match &step {
                Step::Send(all) => (all, Stage::Sent),
                Step::Withdraw(all) => (all, Stage::Withdrawing),
                Step::Wait | Step::Over => (&[], Stage::Sent),
            };
            for at in chosen {
                board
                    .stages
                    .get_mut(*at)
                    .into_iter()
                    .for_each(|one| *one = stage);
            }
            step
        };
        set.announce();
        stops.mark_unchanged();
        match step {
            Step::Send(all) => {
                for at in all {
                    let (engine, set) = (Arc::clone(&engine), Arc::clone(&set));
                    let events = events.clone();
                    tasks.spawn(async move { follow(&engine, &set, at, &events).await });
                }
            }
            Step::Withdraw(all) => {
                for at in all {
                    let (engine, set) = (Arc::clone(&engine), Arc::clone(&set));
                    tasks.spawn(async move { withdraw(&engine, &set, at).await });
                }
            }
            Step::Over => return,
            Step::Wait => {
                let event = tokio::select! {
                    biased;
                    event = news.recv() => event,
                    _ = stops.changed() => None,
                };
                if let Some(heard) = event {
                    note(&set, heard);
                }
            }
        }
    }
}

fn note(set: &Set, heard: Heard) {
    let mut board = set.board();
    if let Some(stage) = board.stages.get_mut(heard.at) {
        *stage = end::stage(&heard.outcome, *stage, heard.has_never_run);
    }
    let before = board.outcomes.get(heard.at).and_then(Option::as_ref);
    let lost = before
        .filter(|_| has_no_answer(&heard.outcome))
        .and_then(end::open_job);
    if let Some(slot) = board.lost.get_mut(heard.at) {
        *slot = lost;
    }
    if let Some(slot) = board.outcomes.get_mut(heard.at) {
        *slot = Some(without_text(heard.outcome));
    }
}

/// The text repeats the data.
fn without_text(mut outcome: HostOutcome) -> HostOutcome {
    if let Ok(answered) = &mut outcome {
        answered.result.text = String::new();
    }
    outcome
}

/// Asks one host, and reports each of its answers until the job has ended.
async fn follow(engine: &Engine, set: &Set, at: usize, events: &UnboundedSender<Heard>) {
    let Some(host) = set.call.hosts.get(at) else {
        return;
    };
    let first = engine.call(host, &set.call.of(host), None).await;
    // The host may name another job later; this one is the set's.
    let job = end::open_job(&first);
    let first = Heard {
        at,
        outcome: first,
        has_never_run: false,
    };
    let _ = events.send(first);
    let Some(job) = job else {
        return;
    };
    let call = about(set, "job", &job, Some(WAIT_MS));
    loop {
        let start = Instant::now();
        let outcome = ask(engine, host, &call).await;
        let has_never_run = end::is_cancelled(&outcome) && {
            let mut details = about(set, "job", &job, Some(0));
            details.arguments.insert("detail".to_owned(), true.into());
            end::never_ran(&ask(engine, host, &details).await)
        };
        let goes_on = end::open_job(&outcome).is_some();
        let heard = Heard {
            at,
            outcome,
            has_never_run,
        };
        if events.send(heard).is_err() || !goes_on {
            return;
        }
        sleep_until(start + BETWEEN).await;
    }
}

/// Asks until there is an answer, or too often.
async fn ask(engine: &Engine, host: &HostName, call: &HostCall) -> HostOutcome {
    let mut tries = 1;
    let mut outcome = engine.call(host, call, None).await;
    while tries < TRIES && has_no_answer(&outcome) {
        sleep(PAUSE * 2_u32.pow(tries - 1)).await;
        outcome = engine.call(host, call, None).await;
        tries += 1;
    }
    outcome
}

fn has_no_answer(outcome: &HostOutcome) -> bool {
    outcome
        .as_ref()
        .map_or(true, |answered| answered.result.is_error)
}

/// Withdraws a request that has not started. A job that has started meanwhile is left alone. Whoever follows the job sees
/// what becomes of it, and one that still waits is withdrawn again.
async fn withdraw(engine: &Engine, set: &Set, at: usize) {
    let waiting = {
        let board = set.board();
        let outcome = board.outcomes.get(at).and_then(Option::as_ref);
        outcome.and_then(end::open_job)
    };
    let (Some(host), Some(job)) = (set.call.hosts.get(at), waiting) else {
        return;
    };
    let now = engine
        .call(host, &about(set, "job", &job, Some(0)), None)
        .await;
    if end::has_not_started(&now) {
        let _ = engine
            .call(host, &about(set, "job_stop", &job, None), None)
            .await;
    }
}

fn about(set: &Set, tool: &str, job: &str, wait_ms: Option<u32>) -> HostCall {
    let wait = wait_ms.map(|wait| ("wait_ms".to_owned(), Value::from(wait)));
    let job = ("job_id".to_owned(), Value::from(job));
    HostCall {
        tool: tool.to_owned(),
        arguments: Map::from_iter([job].into_iter().chain(wait)),
        set: None,
        is_patient: false,
        ..set.call.call.clone()
    }
}

#[cfg(test)]
mod tests {
    use remit_common::names::SetId;
    use serde_json::json;

    use super::super::order::Order;
    use super::super::state::SetCall;
    use super::*;
    use crate::link::answer::{ServerInfo, ToolResult};
    use crate::link::{Answered, Unreachable};

    fn answer(data: Value) -> HostOutcome {
        Ok(Answered {
            result: ToolResult {
                is_error: data.get("error").is_some(),
                data: data.as_object().unwrap().clone(),
                text: String::new(),
            },
            server: ServerInfo::default(),
            asked_ms: (0, 0),
        })
    }

    #[test]
    fn job_without_a_further_answer_stays_known() {
        let job = "ab".repeat(16);
        let asks = || answer(json!({"job_id": job, "state": "awaiting_approval"}));
        let ended = || answer(json!({"job_id": job, "state": "exited", "exit": 0}));
        let refused = || answer(json!({"error": {"code": "unreachable"}}));
        let down = || Err(Unreachable("lost".to_owned()));
        for (outcomes, expect) in [
            (vec![asks(), down()], Some(&job)),
            (vec![asks(), refused()], Some(&job)),
            (vec![asks(), ended()], None),
            (vec![asks()], None),
            (vec![down()], None),
            (vec![refused()], None),
        ] {
            let call = SetCall {
                hosts: vec!["web1".parse().unwrap()],
                call: crate::hosts::access("test"),
                plans: None,
                order: Order {
                    concurrency: 1,
                    max_errors: 0,
                },
            };
            let set = Set::new(SetId([7; 16]), call);
            let shown = format!("{outcomes:?}");
            for outcome in outcomes {
                let heard = Heard {
                    at: 0,
                    outcome,
                    has_never_run: false,
                };
                note(&set, heard);
            }
            assert_eq!(set.board().lost[0].as_ref(), expect, "{shown}");
        }
    }
}
