//! `remit-fleet hosts`: a line for each host.

use std::sync::Arc;

use super::render::{self, print};
use crate::args::HostsArgs;
use crate::config::Host;
use crate::engine::Engine;
use crate::exit::{Exit, say};
use crate::hosts;
use crate::selector;

pub async fn hosts(engine: &Arc<Engine>, args: &HostsArgs) -> Exit {
    let words: Option<Vec<&str>> = args.on.as_deref().map(|on| selector::words(on).collect());
    let chosen: Vec<Host> = match words {
        None => engine.fleet.hosts.clone(),
        Some(words) => match engine.choose(Some(&words)) {
            Ok(chosen) => chosen.into_iter().cloned().collect(),
            Err(error) => {
                say(&error.0);
                return Exit::Usage;
            }
        },
    };
    let rows = hosts::rows(engine, &chosen, args.probe, "remit-fleet hosts").await;
    let text: String = match args.json {
        true => rows
            .iter()
            .map(|row| format!("{}\n", hosts::to_json(row)))
            .collect(),
        false => render::hosts(&rows),
    };
    let printed = print(&text);
    if args.probe && !engine.has_masters() {
        say(
            "each call logs in: no private directory for master connections, or '[limits] masters = 0'",
        );
    }
    let is_silent = |row: &hosts::HostRow| row.probed.as_ref().is_some_and(|it| it.answer.is_err());
    match printed {
        Exit::Ok if rows.iter().any(is_silent) => Exit::Failed,
        other => other,
    }
}
