//! `remit-fleet undo`: asks one host to undo a commit. It waits for nobody: `approve` and `remit job` go on from there.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::pending::words;
use super::render::print;
use super::run::chosen;
use crate::args::UndoArgs;
use crate::engine::Engine;
use crate::exit::{Exit, say};
use crate::remote;
use crate::request_id;
use remit_common::text;

pub async fn undo(engine: &Arc<Engine>, args: &UndoArgs) -> Exit {
    let host = match chosen(engine, args.on.as_deref()) {
        Ok(hosts) => match <[_; 1]>::try_from(hosts) {
            Ok([host]) => host,
            Err(hosts) => {
                say(&format!(
                    "a commit belongs to one host, and '--on' names {}",
                    hosts.len()
                ));
                return Exit::Usage;
            }
        },
        Err(exit) => return exit,
    };
    let fresh = match request_id::fresh() {
        Ok(fresh) => fresh,
        Err(error) => {
            say(&format!("cannot read '/dev/urandom': {error}"));
            return Exit::System;
        }
    };
    let mut words = words(&[
        "undo",
        &args.id,
        "--no-wait",
        "--json",
        "--request-id",
        &fresh,
    ]);
    words.extend(["-m".to_owned(), args.message.clone()]);
    words.extend(args.with_contents.then(|| "--with-contents".to_owned()));
    for call in &args.then {
        words.extend(["--then".to_owned(), call.clone()]);
    }
    let asked = [(host.clone(), words)];
    let answers = engine.remit(asked, engine.manner()).await;
    let answer = answers.into_iter().next().map(|(_, answer)| answer);
    let answer = answer.unwrap_or_else(|| Err("it was not asked".to_owned()));
    match answer.and_then(|output| remote::object(&output)) {
        Ok(answer) => print(&format!(
            "{host}: {}\n",
            undo_report(host.as_str(), &answer)
        )),
        Err(why) => {
            say(&format!("{host}: not undone: {why}"));
            Exit::Failed
        }
    }
}

/// Says what became of the request, and what to type next.
fn undo_report(host: &str, answer: &Map<String, Value>) -> String {
    let word = |key: &str| {
        let word = answer.get(key).and_then(Value::as_str).unwrap_or("?");
        text::line(word.as_bytes(), 64)
    };
    let (job, state) = (word("job_id"), word("state"));
    match (&*state, answer.get("exit").and_then(Value::as_i64)) {
        ("awaiting_approval", _) => {
            format!("job {job} waits for an approval: remit-fleet approve {host}:{job}")
        }
        (_, Some(exit)) => format!("job {job} ended with status {exit}"),
        _ => format!("job {job} is {state}: ssh {host} remit job {job}"),
    }
}
