//! What is known of each host: name, tags, and by a probe its address, release and user.

use std::collections::BTreeMap;
use std::sync::Arc;

use remit_common::text;
use serde_json::{Map, Value, json};

use crate::config::Host;
use crate::engine::{Engine, end_for_clients};
use crate::link::answer::ServerInfo;
use crate::link::{HostCall, Unreachable};

const WHY: usize = 300;
/// Bytes of a list. Tags are in it for each host, so a thousand hosts do not fit.
const LARGEST: usize = 24 << 10;

#[derive(Debug)]
pub struct HostRow {
    pub name: String,
    pub tags: Vec<String>,
    pub is_connected: bool,
    pub probed: Option<Probed>,
}

impl HostRow {
    /// Returns true if it was probed and did not answer.
    pub fn is_silent(&self) -> bool {
        self.probed.as_ref().is_some_and(|it| it.answer.is_err())
    }
}

#[derive(Debug)]
pub struct Probed {
    /// `USER@HOSTNAME:PORT` as ssh sees it.
    pub address: String,
    /// The account there, and its release of remit.
    pub answer: Result<(String, ServerInfo), String>,
}

/// Returns the answer of the tool `hosts`.
pub async fn listed(
    engine: &Arc<Engine>,
    words: Option<&[&str]>,
    arguments: &Map<String, Value>,
    client: &str,
) -> Result<Map<String, Value>, String> {
    if let Some(other) = arguments.keys().find(|key| *key != "probe") {
        let other = text::line(other.as_bytes(), 60);
        return Err(format!(
            "hosts has no argument '{other}': it has on and probe"
        ));
    }
    let probes = match arguments.get("probe") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(probes)) => *probes,
        Some(_) => return Err("'probe' is true or false".to_owned()),
    };
    let chosen = match words {
        None => engine.fleet.hosts.iter().collect(),
        words => engine.choose(words).map_err(|error| error.0)?,
    };
    let chosen: Vec<Host> = chosen.into_iter().cloned().collect();
    let probe = probes.then(|| HostCall {
        until: Some(end_for_clients()),
        may_become_master: true,
        ..access(client)
    });
    let rows = rows(engine, &chosen, probe).await;
    Ok(fitted(&rows))
}

/// Returns the call of a probe. It becomes no master: the login may be a person's.
pub fn access(client: &str) -> HostCall {
    HostCall {
        tool: "access".to_owned(),
        arguments: Map::new(),
        set: None,
        behalf: None,
        client: client.to_owned(),
        until: None,
        may_become_master: false,
        follows: false,
        is_patient: false,
    }
}

/// Returns a row for each host. A probe logs in and makes this call.
pub async fn rows(engine: &Arc<Engine>, hosts: &[Host], probe: Option<HostCall>) -> Vec<HostRow> {
    let mut probed = match probe {
        Some(call) => probed(engine, hosts, &call).await.into_iter(),
        None => Vec::new().into_iter(),
    };
    hosts
        .iter()
        .map(|host| HostRow {
            name: host.name.to_string(),
            tags: host.tags.clone(),
            is_connected: engine.is_connected(&host.name),
            probed: probed.next(),
        })
        .collect()
}

async fn probed(engine: &Arc<Engine>, hosts: &[Host], call: &HostCall) -> Vec<Probed> {
    let names: Vec<_> = hosts.iter().map(|host| host.name.clone()).collect();
    let outcomes = engine.call_all(&names, call, None).await;
    let answers = outcomes.into_iter().map(|(_, outcome)| match outcome {
        Ok(answered) => {
            let data = &answered.result.data;
            let error = data.get("error").and_then(|error| error.get("message"));
            match (error.and_then(Value::as_str), data.get("user")) {
                (Some(why), _) => Err(text::line(why.as_bytes(), WHY)),
                (None, user) => {
                    let user = user.and_then(Value::as_str).unwrap_or("?");
                    Ok((text::line(user.as_bytes(), 40), answered.server))
                }
            }
        }
        Err(Unreachable(why)) => Err(text::line(why.as_bytes(), WHY)),
    });
    names
        .iter()
        .zip(answers)
        .map(|(name, answer)| Probed {
            address: engine.address(name).unwrap_or_else(|| "?".to_owned()),
            answer,
        })
        .collect()
}

/// Returns the list with as many hosts as fit, those without an answer first, and how many there are.
fn fitted(rows: &[HostRow]) -> Map<String, Value> {
    let (silent, others): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.is_silent());
    let mut listed = Vec::new();
    let mut size = 0;
    for row in silent.into_iter().chain(others) {
        let row = to_json(row);
        size += row.to_string().len() + 1;
        if size > LARGEST {
            break;
        }
        listed.push(row);
    }
    let mut tags: BTreeMap<&str, usize> = BTreeMap::new();
    for tag in rows.iter().flat_map(|row| &row.tags) {
        *tags.entry(tag).or_default() += 1;
    }
    let more = rows.len() - listed.len();
    let mut data = Map::from_iter([("hosts".to_owned(), Value::Array(listed))]);
    if !tags.is_empty() {
        data.insert("tags".to_owned(), json!(tags));
    }
    if more > 0 {
        data.insert("more_hosts".to_owned(), json!(more));
    }
    data
}

pub fn to_json(row: &HostRow) -> Value {
    let mut entry = Map::from_iter([("name".to_owned(), json!(row.name))]);
    let mut add = |key: &str, value: Value| entry.insert(key.to_owned(), value);
    if !row.tags.is_empty() {
        add("tags", json!(row.tags));
    }
    if row.is_connected {
        add("connected", json!(true));
    }
    if let Some(probed) = &row.probed {
        add("address", json!(probed.address));
        match &probed.answer {
            Ok((user, server)) => {
                add("user", json!(user));
                add("release", json!(server.version));
            }
            Err(why) => {
                add("why", json!(why));
            }
        }
    }
    Value::Object(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_list_is_bounded_and_counted() {
        let probed = |answer| {
            Some(Probed {
                address: "a".into(),
                answer,
            })
        };
        let rows: Vec<HostRow> = (0..4000)
            .map(|n| HostRow {
                name: format!("web{n}"),
                tags: vec!["prod".into()],
                is_connected: false,
                probed: match n {
                    3999 => probed(Err("down".into())),
                    _ => probed(Ok(("x".into(), ServerInfo::default()))),
                },
            })
            .collect();
        let data = fitted(&rows);
        let listed = data["hosts"].as_array().unwrap().len();
        assert_eq!(data["more_hosts"], json!(4000 - listed));
        assert_eq!(data["hosts"][0]["why"], "down");
        assert_eq!(data["tags"], json!({"prod": 4000}));
        assert!(Value::Object(data).to_string().len() < LARGEST + 200);
    }
}
