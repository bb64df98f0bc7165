//! `remit-fleet undo`: asks one host to undo a commit. It waits for nobody: `approve` and `remit job` go on from there.

use std::sync::Arc;

use remit_common::names::JobId;
use remit_common::text;
use serde_json::{Map, Value};

use super::pending::words;
use super::render::print_folded;
use super::run::chosen;
use crate::args::UndoArgs;
use crate::engine::Engine;
use crate::exit::{Exit, say};
use crate::host_name::HostName;
use crate::remote::{self, NotDone};
use crate::request_id;

/// Bytes of the name of a state.
const STATE: usize = 40;
/// Bytes of the words about an end.
const CAUSE: usize = 300;

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
    words.push(format!("--reason={}", args.message));
    words.extend(args.with_contents.then(|| "--with-contents".to_owned()));
    words.extend(args.then.iter().map(|call| format!("--then={call}")));
    let asked = [(host.clone(), words)];
    let answers = engine.remit(asked, engine.manner()).await;
    let answer = answers.into_iter().next().map(|(_, answer)| answer);
    let answer = answer.unwrap_or_else(|| Err(NotDone::not_asked()));
    let report = answer.and_then(|output| {
        let answer = remote::object(&output, "job_id").map_err(NotDone::Unknown)?;
        let typed = (&*engine.fleet.typed, &*engine.ssh().typed());
        undo_report(typed, &host, &answer).map_err(NotDone::Unknown)
    });
    match report {
        Ok(report) => print_folded(&format!("{host}: {report}\n")),
        Err(why) => {
            let next = match &why {
                NotDone::NotAsked(_) | NotDone::Failed(_) => String::new(),
                NotDone::Unknown(_) => format!(
                    "; {} {host} remit jobs lists what was asked",
                    engine.ssh().typed()
                ),
            };
            say(&format!("{host}: {}{next}", why.about("undone")));
            Exit::Failed
        }
    }
}

/// Says what became of the request, and what to type next. No text of a host is part of a command line: its cause is a line
/// of its own.
fn undo_report(
    (typed, ssh): (&str, &str),
    host: &HostName,
    answer: &Map<String, Value>,
) -> Result<String, String> {
    let word = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default();
    let job = word("job_id").parse::<JobId>();
    let job = job.map_err(|_| "its answer names no job".to_owned())?;
    let state = Some(word("state")).filter(|state| is_name(state));
    let cause = match word("cause") {
        "" => String::new(),
        cause => format!("\n  {}", text::line(cause.as_bytes(), CAUSE)),
    };
    let report = match (state, answer.get("exit").and_then(Value::as_i64)) {
        (Some("awaiting_approval"), _) => {
            format!("job {job} waits for an approval: {typed} approve {host}:{job}")
        }
        (Some(state), Some(exit)) if state != "exited" => {
            format!("job {job} is {state}, with status {exit}")
        }
        (_, Some(exit)) => format!("job {job} ended with status {exit}"),
        (Some(state), None) => format!("job {job} is {state}: {ssh} {host} remit job {job}"),
        (None, None) => {
            format!("job {job} has a state without a name: {ssh} {host} remit job {job}")
        }
    };
    Ok(report + &cause)
}

fn is_name(state: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    (1..=STATE).contains(&state.len()) && state.bytes().all(is_plain)
}
