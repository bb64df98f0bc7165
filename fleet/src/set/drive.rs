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
use crate::engine::{Engine, HostOutcome};
use crate::link::HostCall;

/// Questions about a job without an answer, one after another, until nobody knows how it ended.
const TRIES: u32 = 6;
/// Before the next try. It doubles.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two questions about a job. A host may answer at once.
const BETWEEN: Duration = Duration::from_secs(1);
const WAIT_MS: u32 = 50_000;

/// Runs until the set is over. Dropping it ends all calls; their jobs belong to the hosts.
pub async fn drive(engine: Arc<Engine>, set: Arc<Set>) {
    let mut tasks = JoinSet::new();
    let (events, mut news) = mpsc::unbounded_channel();
    let mut stops = set.news.subscribe();
    loop {
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
                if let Some((at, outcome)) = event {
                    note(&set, at, outcome);
                }
            }
        }
    }
}

fn note(set: &Set, at: usize, outcome: HostOutcome) {
    let mut board = set.board();
    if let Some(stage) = board.stages.get_mut(at) {
        *stage = end::stage(&outcome, *stage);
    }
    if let Some(slot) = board.outcomes.get_mut(at) {
        *slot = Some(without_text(outcome));
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
async fn follow(
    engine: &Engine,
    set: &Set,
    at: usize,
    events: &UnboundedSender<(usize, HostOutcome)>,
) {
    let Some(host) = set.call.hosts.get(at) else {
        return;
    };
    let first = engine.call(host, &set.call.of(host), None).await;
    // The host may name another job later; this one is the set's.
    let job = end::open_job(&first);
    let _ = events.send((at, first));
    let Some(job) = job else {
        return;
    };
    let call = about(set, "job", &job, Some(WAIT_MS));
    loop {
        let start = Instant::now();
        let mut tries = 1;
        let mut outcome = engine.call(host, &call, None).await;
        while tries < TRIES && has_no_answer(&outcome) {
            sleep(PAUSE * 2_u32.pow(tries - 1)).await;
            outcome = engine.call(host, &call, None).await;
            tries += 1;
        }
        let goes_on = end::open_job(&outcome).is_some();
        if events.send((at, outcome)).is_err() || !goes_on {
            return;
        }
        sleep_until(start + BETWEEN).await;
    }
}

fn has_no_answer(outcome: &HostOutcome) -> bool {
    outcome
        .as_ref()
        .map_or(true, |answered| answered.result.is_error)
}

/// Withdraws a request that waits. A job that an approver has started meanwhile is left alone.
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
    let is_waiting = now
        .as_ref()
        .is_ok_and(|answered| end::state(&answered.result.data) == "awaiting_approval");
    if is_waiting {
        // Whoever follows the job sees what becomes of it.
        let _ = engine
            .call(host, &about(set, "job_stop", &job, None), None)
            .await;
    }
}

/// A call about a job of the set.
fn about(set: &Set, tool: &str, job: &str, wait_ms: Option<u32>) -> HostCall {
    let wait = wait_ms.map(|wait| ("wait_ms".to_owned(), Value::from(wait)));
    let job = ("job_id".to_owned(), Value::from(job));
    HostCall {
        tool: tool.to_owned(),
        arguments: Map::from_iter([job].into_iter().chain(wait)),
        set: None,
        ..set.call.call.clone()
    }
}
