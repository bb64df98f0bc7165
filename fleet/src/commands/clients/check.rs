//! `remit-fleet client-check`: starts the entry of a client as that client would, and prints what was found.

use std::env;
use std::fmt::Write as _;
use std::time::Duration;

use remit_clients::{McpClient, ServerEntry};
use remit_common::text;
use serde_json::json;

use super::super::render::print_folded;
use super::attempt::{self, ClientTimeouts, StartAttempt};
use super::environment::Environment;
use super::finding::{self, FindingKind, Tried};
use crate::exit::Exit;

const LINE: usize = 1000;

pub async fn check(
    client: McpClient,
    entry: &ServerEntry,
    is_one_host: bool,
    start_s: Option<u64>,
) -> Exit {
    let start = client.start();
    let environment = Environment::from_client(client, entry, &env::vars_os().collect());
    let limits = ClientTimeouts {
        hello: start_s.map_or(start.hello, Duration::from_secs),
        call: start.call,
    };
    let name = client.name();
    let session = async |environment: &Environment| -> StartAttempt {
        let tool = match is_one_host {
            true => ("access", json!({})),
            false => ("hosts", json!({ "probe": true })),
        };
        attempt::session(&entry.command, environment, &name, limits, tool).await
    };
    let first = match start.starts_twice {
        true => Some(attempt::probe(&entry.command, &environment, &name, limits.hello).await),
        false => None,
    };
    let attempt = session(&environment).await;
    let with_agent = match &environment.lost_agent {
        Some(socket) if finding::is_denied(&attempt) => {
            Some(session(&environment.with_agent(socket.clone())).await)
        }
        _ => None,
    };
    let findings = finding::all(&Tried {
        entry,
        is_one_host,
        environment: &environment,
        limits,
        first,
        attempt: &attempt,
        with_agent: with_agent.as_ref(),
    });
    let mut out = format!(
        "as {name}, with {}{}: {}\n",
        text::line(environment.names().as_bytes(), LINE),
        environment
            .directory
            .map_or_else(String::new, |dir| format!(" in {dir}")),
        text::command_line(&entry.command, LINE)
    );
    for found in &findings {
        let _ = writeln!(
            out,
            "{:7} {}",
            found.kind.word(),
            text::line(found.what.as_bytes(), LINE)
        );
        if let Some(fix) = &found.fix {
            let _ = writeln!(
                out,
                "        to go on: {}",
                text::line(fix.as_bytes(), LINE)
            );
        }
    }
    let is_broken = findings
        .iter()
        .any(|found| found.kind == FindingKind::Broken);
    match print_folded(&out) {
        Exit::Ok if is_broken => Exit::Failed,
        other => other,
    }
}
