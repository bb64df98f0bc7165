//! `remit-fleet pending`: what waits for an approval, each set once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use remit_common::names::SetId;
use serde_json::{Value, json};

use super::render::print;
use super::run;
use crate::approvals::page::{self, names};
use crate::approvals::request::{self, HostRequest};
use crate::args::PendingArgs;
use crate::engine::Engine;
use crate::exit::{Exit, say};
use crate::host_name::HostName;
use crate::remote;

/// What hosts list.
#[derive(Default)]
pub struct Waiting {
    pub requests: Vec<HostRequest>,
    /// Number of hosts that sent a list.
    pub answered: usize,
    /// Hosts that list more than is shown, with the number.
    pub omitted: Vec<(HostName, u64)>,
    pub silent: Vec<(HostName, String)>,
}

pub async fn pending(engine: &Arc<Engine>, args: &PendingArgs) -> Exit {
    let hosts = match chosen(engine, args.on.as_deref()) {
        Ok(hosts) => hosts,
        Err(exit) => return exit,
    };
    let waiting = waiting(engine, hosts).await;
    let printed = match args.json {
        true => print(&format!("{}\n", to_json(&waiting))),
        false => print(&text(&waiting, &engine.fleet.typed)),
    };
    say_missing(&waiting);
    match printed {
        Exit::Ok if !waiting.silent.is_empty() => Exit::Failed,
        other => other,
    }
}

/// Returns the hosts of `--on`, or all.
pub fn chosen(engine: &Engine, on: Option<&str>) -> Result<Vec<HostName>, Exit> {
    let names = engine.fleet.hosts.iter().map(|host| host.name.clone());
    match on {
        None => Ok(names.collect()),
        on => run::chosen(engine, on),
    }
}

pub fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

pub async fn waiting(engine: &Arc<Engine>, hosts: Vec<HostName>) -> Waiting {
    let asked = hosts
        .into_iter()
        .map(|host| (host, words(&["pending", "--json"])));
    let mut waiting = Waiting::default();
    for (host, outcome) in engine.remit(asked, engine.manner()).await {
        let listed = outcome
            .map_err(String::from)
            .and_then(|output| remote::object(&output, "requests"))
            .and_then(|answer| request::listed(&host, answer));
        match listed {
            Ok((requests, more)) => {
                waiting.answered += 1;
                waiting.requests.extend(requests);
                if more > 0 {
                    waiting.omitted.push((host, more));
                }
            }
            Err(why) => waiting.silent.push((host, why)),
        }
    }
    for one in &mut waiting.requests {
        let is_counted = one
            .facts
            .get("approved_by")
            .is_some_and(|by| *by != json!([]));
        if is_counted && let Ok(way) = engine.ssh().way(&one.host, false).await {
            one.is_approved = one.has_approval_of(way.effective.user());
        }
    }
    waiting
}

pub fn say_missing(waiting: &Waiting) {
    for (host, why) in &waiting.silent {
        say(&format!("{host}: {why}"));
    }
    for (host, more) in &waiting.omitted {
        say(&format!("{host}: {more} more requests are not listed"));
    }
}

type RequestsBySet<'a> = BTreeMap<SetId, Vec<&'a HostRequest>>;

fn parted(requests: &[HostRequest]) -> (RequestsBySet<'_>, Vec<&HostRequest>) {
    let mut sets = RequestsBySet::new();
    let mut single = Vec::new();
    for request in requests {
        match request.set {
            Some(set) => sets.entry(set).or_default().push(request),
            None => single.push(request),
        }
    }
    (sets, single)
}

/// `typed`: this program, as a person types it.
fn text(waiting: &Waiting, typed: &str) -> String {
    if waiting.requests.is_empty() {
        let none = match (waiting.answered, waiting.silent.len()) {
            (_, 0) => "no requests wait for an approval\n",
            (0, _) => "no host has answered\n",
            _ => "of the hosts that answered, none has a request that waits for an approval\n",
        };
        return none.to_owned();
    }
    let (sets, single) = parted(&waiting.requests);
    let mut out = String::new();
    for (set, requests) in sets {
        let _ = writeln!(
            out,
            "set {set}, as its requester says: {}",
            names(&requests)
        );
        out += &listed(&requests);
    }
    if !single.is_empty() {
        out += "of no set\n";
        out += &listed(&single);
    }
    out + &format!("to go on: {typed} approve SET or HOST:ID; {typed} deny SET or HOST:ID -m WHY\n")
}

fn listed(requests: &[&HostRequest]) -> String {
    let requests: Vec<HostRequest> = requests.iter().map(|one| (*one).clone()).collect();
    page::page(&requests)
}

fn to_json(waiting: &Waiting) -> Value {
    let entry = |request: &&HostRequest| {
        let mut entry = request.facts.clone();
        // Last, so that no host names another.
        for (key, value) in [
            ("host", json!(request.host.as_str())),
            ("job_id", json!(request.job.to_string())),
            ("digest", json!(request.digest.as_str())),
            ("yours", json!(request.is_yours)),
            ("left_ms", json!(request.left_ms)),
        ] {
            entry.insert(key.to_owned(), value);
        }
        Value::Object(entry)
    };
    let (sets, single) = parted(&waiting.requests);
    let sets: Vec<Value> = sets
        .iter()
        .map(|(set, requests)| {
            let requests: Vec<Value> = requests.iter().map(entry).collect();
            json!({ "set": set.to_string(), "requests": requests })
        })
        .collect();
    let single: Vec<Value> = single.iter().map(entry).collect();
    let silent = waiting.silent.iter();
    let silent: Vec<Value> = silent
        .map(|(host, why)| json!({ "host": host.as_str(), "why": why }))
        .collect();
    let omitted: BTreeMap<&str, u64> = waiting
        .omitted
        .iter()
        .map(|(host, more)| (host.as_str(), *more))
        .collect();
    json!({ "sets": sets, "single": single, "omitted": omitted, "unreachable": silent })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approvals::request::tests::one;

    #[test]
    fn lists_without_requests_are_no_silence() {
        let silent = || vec![("web2".parse().unwrap(), "refused".to_owned())];
        for (answered, silent, expect) in [
            (1, Vec::new(), "no requests wait for an approval\n"),
            (
                1,
                silent(),
                "of the hosts that answered, none has a request that waits for an approval\n",
            ),
            (0, silent(), "no host has answered\n"),
        ] {
            let waiting = Waiting {
                answered,
                silent,
                ..Waiting::default()
            };
            assert_eq!(text(&waiting, "remit-fleet"), expect);
        }
    }

    #[test]
    fn next_command_has_the_same_configuration() {
        let waiting = Waiting {
            requests: vec![one("web1", 1, Some(7), "x")],
            answered: 1,
            ..Waiting::default()
        };
        let text = text(&waiting, "remit-fleet --config f");
        assert!(
            text.ends_with(
                "to go on: remit-fleet --config f approve SET or HOST:ID; remit-fleet --config f deny SET or HOST:ID -m WHY\n"
            ),
            "{text}"
        );
    }
}
