//! `remit-fleet run`: a program on each host, followed to its end.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::render::{self, print};
use crate::args::RunArgs;
use crate::engine::{Engine, group, report};
use crate::exit::{Exit, say};
use crate::hosts;
use crate::link::HostCall;
use crate::request_id;
use crate::selector;

pub async fn run(engine: &Arc<Engine>, args: RunArgs) -> Exit {
    let words: Option<Vec<&str>> = args.on.as_deref().map(|on| selector::words(on).collect());
    let names: Vec<_> = match engine.choose(words.as_deref()) {
        Ok(chosen) => chosen.into_iter().map(|host| host.name.clone()).collect(),
        Err(error) => {
            say(&error.0.replacen("'on'", "'--on'", 1));
            return Exit::Usage;
        }
    };
    let fold = if args.fold_numbers {
        group::Fold::Numbers
    } else {
        group::Fold::Exact
    };
    let request_id = match request_id::fresh() {
        Ok(id) => id,
        Err(error) => {
            say(&format!("cannot read '/dev/urandom': {error}"));
            return Exit::System;
        }
    };
    let call = HostCall {
        tool: "run".to_owned(),
        arguments: Map::from_iter([
            ("argv".to_owned(), json!(args.argv)),
            ("request_id".to_owned(), json!(request_id)),
        ]),
        client: "remit-fleet run".to_owned(),
        until: None,
        may_become_master: true,
        follows: true,
    };
    let (done, mut counts) = mpsc::unbounded_channel();
    let answers = engine.call_all(&names, &call, Some(done));
    tokio::pin!(answers);
    let outcomes = loop {
        tokio::select! {
            biased;
            outcomes = &mut answers => break outcomes,
            Some(count) = counts.recv() => {
                if names.len() > 1 && count % 100 == 0 {
                    say(&format!("{count} of {} hosts have answered", names.len()));
                }
            }
        }
    };
    for (release, of) in hosts::other_releases(&outcomes) {
        say(&format!("remit {release}: {}", of.join(" ")));
    }
    let outcomes = outcomes
        .into_iter()
        .map(|(host, outcome)| (host, outcome.map(|answered| answered.result)));
    let grouped = group::group(outcomes, fold);
    let ran = |group: &group::Group| group.facts.get("exit") == Some(&Value::from(0));
    let all_ran = grouped.unreachable.is_empty() && grouped.groups.iter().all(ran);
    let printed = match args.json {
        true => {
            let report = report::fitted(&grouped, usize::MAX);
            print(&format!("{}\n", Value::Object(report)))
        }
        false => print(&render::grouped(&grouped)),
    };
    match printed {
        Exit::Ok if !all_ran => Exit::Failed,
        other => other,
    }
}
