//! `remit-fleet hosts`: a line for each host.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::host_status::{self, HostStatus};
use super::render::{self, print, print_folded};
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
    let probe = args.probe.then(|| hosts::access("remit-fleet hosts"));
    let rows = hosts::rows(engine, &chosen, probe).await;
    // Only the rows of a probe have answers.
    let has_answered =
        |row: &&hosts::HostRow| row.probed.as_ref().is_some_and(|it| it.answer.is_ok());
    let answering: BTreeSet<&str> = rows
        .iter()
        .filter(has_answered)
        .map(|row| &*row.name)
        .collect();
    let names = chosen.iter().map(|host| host.name.clone());
    let names = names.filter(|name| answering.contains(name.as_str()));
    let statuses = host_status::asked(engine, names.collect()).await;
    let of = |row: &hosts::HostRow| {
        let mut all = statuses.iter();
        let (_, status) = all.find(|(host, _)| host.as_str() == row.name)?;
        status.as_ref().ok()
    };
    let printed = match args.json {
        true => {
            let rows = rows.iter();
            let lines = rows.map(|row| format!("{}\n", with_status(hosts::to_json(row), of(row))));
            print(&lines.collect::<String>())
        }
        false => {
            let lines = render::hosts(&rows, |row| {
                of(row).map_or_else(Vec::new, HostStatus::remarks)
            });
            print_folded(&(lines + &host_status::policies(&statuses)))
        }
    };
    let mut unknown: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (host, status) in &statuses {
        if let Err(why) = status {
            unknown.entry(why).or_default().push(host.as_str());
        }
    }
    for (why, hosts) in unknown {
        let hosts = hosts.join(" ");
        say(&format!("policy and lock are not known of {hosts}: {why}"));
    }
    if args.probe && engine.fleet.limits.masters > 0 && !engine.has_masters() {
        say("each call logs in: there is no private directory for master connections");
    }
    match printed {
        Exit::Ok if rows.iter().any(hosts::HostRow::is_silent) => Exit::Failed,
        other => other,
    }
}

fn with_status(mut row: Value, status: Option<&HostStatus>) -> Value {
    if let (Value::Object(row), Some(status)) = (&mut row, status) {
        row.insert("policy".to_owned(), json!(status.policy));
        if let Some(why) = &status.locked {
            row.insert("locked".to_owned(), json!(why));
        }
        if let Some(why) = &status.policy_error {
            row.insert("policy_error".to_owned(), json!(why));
        }
        if !status.paused.is_empty() {
            row.insert("paused".to_owned(), json!(status.paused));
        }
    }
    row
}
