//! `remit-fleet logs`: the journals of many hosts as one.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::render::{self, print, print_folded};
use super::run::{Interrupted, answers, chosen, followed};
use crate::args::LogsArgs;
use crate::engine::{Engine, group, logs, report};
use crate::exit::Exit;

pub async fn logs(engine: &Arc<Engine>, args: LogsArgs) -> Exit {
    let names = match chosen(engine, args.on.as_deref()) {
        Ok(names) => names,
        Err(exit) => return exit,
    };
    let query = args
        .query
        .into_iter()
        .map(|(name, value)| (name, json!(value)));
    let arguments = Map::from_iter([
        ("name".to_owned(), json!("logs")),
        ("args".to_owned(), Value::Object(query.collect())),
    ]);
    let call = match followed(arguments, "remit-fleet logs") {
        Ok(call) => call,
        Err(exit) => return exit,
    };
    let interrupted = Interrupted::catch();
    let outcomes = answers(engine, &names, &call, &interrupted).await;
    let (timeline, others) = logs::merged(engine, &call, outcomes, || interrupted.ends()).await;
    let is_complete = others.is_empty();
    let grouped = group::of_answers(others, group::Fold::Exact, names.len());
    let printed = match args.json {
        true => {
            let mut report = report::fitted(&grouped, usize::MAX);
            report.extend(
                timeline
                    .map(|timeline| timeline.fitted(usize::MAX))
                    .unwrap_or_default(),
            );
            print(&format!("{}\n", Value::Object(report)))
        }
        false => {
            let lines = timeline.map(|timeline| timeline.text()).unwrap_or_default();
            print_folded(&(lines + &render::grouped(&grouped, &engine.ssh().typed())))
        }
    };
    match printed {
        Exit::Ok if interrupted.is_true() => Exit::Interrupted,
        Exit::Ok if !is_complete => Exit::Failed,
        other => other,
    }
}
