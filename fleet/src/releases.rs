//! Hosts whose remit is of another release than this program: tools may have other arguments there. Pure.

use std::collections::BTreeMap;

use remit_common::RELEASE;
use serde_json::{Map, Value, json};

use crate::engine::HostOutcome;
use crate::link::answer::ServerInfo;

/// Releases in an answer, and hosts of each. `hosts` with a probe shows all of them.
const SHOWN: usize = 4;

/// Says which release a host has, if it is not this one.
pub fn other(server: &ServerInfo) -> Option<String> {
    (server.version != RELEASE).then(|| {
        let there = &server.version;
        format!("remit {there} there, {RELEASE} here: arguments may differ")
    })
}

/// Returns the hosts of each other release.
pub fn others<'a>(
    outcomes: impl IntoIterator<Item = (&'a str, &'a HostOutcome)>,
) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (host, outcome) in outcomes {
        if let Ok(answered) = outcome
            && answered.server.version != RELEASE
        {
            let version = answered.server.version.as_str();
            found.entry(version).or_default().push(host);
        }
    }
    found
}

/// Returns `other_releases` of an answer about many hosts, or nothing.
pub fn other_releases<'a>(
    outcomes: impl IntoIterator<Item = (&'a str, &'a HostOutcome)>,
) -> Map<String, Value> {
    let found = others(outcomes);
    let few = found.iter().take(SHOWN).map(|(release, hosts)| {
        let listed: Vec<&&str> = hosts.iter().take(SHOWN).collect();
        let more = hosts.len() - listed.len();
        let entry = json!({ "hosts": listed, "more_hosts": more });
        ((*release).to_owned(), entry)
    });
    let few: Map<String, Value> = few.collect();
    match few.is_empty() {
        true => Map::new(),
        false => Map::from_iter([("other_releases".to_owned(), Value::Object(few))]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Unreachable;

    #[test]
    fn other_release_is_named() {
        let server = |version: &str| ServerInfo {
            name: "remit".into(),
            version: version.into(),
        };
        assert_eq!(other(&server(RELEASE)), None);
        let said = other(&server("0.0.9")).unwrap();
        assert!(said.starts_with("remit 0.0.9 there"), "{said}");
        let silent: HostOutcome = Err(Unreachable("down".into()));
        assert_eq!(other_releases([("web1", &silent)]), Map::new());
    }
}
