//! What `remit status` of a host tells an administrator: its policy, and whether it is locked.

use std::fmt::Write as _;
use std::sync::Arc;

use remit_common::text;
use serde_json::{Map, Value};

use super::pending::words;
use crate::engine::Engine;
use crate::host_name::HostName;
use crate::remote;

const WORDS: usize = 200;
/// Digits of a digest that are shown.
const SHOWN: usize = 12;
/// As many as remitd names.
const PAUSED: usize = 9;
/// Digits that are compared.
const DIGEST: usize = 64;

#[derive(Debug, PartialEq, Eq)]
pub struct HostStatus {
    pub policy: String,
    /// Why and by whom it is locked.
    pub locked: Option<String>,
    /// Why its policy files are not in force: the first line.
    pub policy_error: Option<String>,
    /// Users whom a breaker paused, at most 9.
    pub paused: Vec<String>,
}

impl HostStatus {
    /// Returns what keeps requests from being answered as its policy files say.
    pub fn remarks(&self) -> Vec<String> {
        let locked = self.locked.iter().map(|why| format!("LOCKED {why}"));
        let policy_error = self.policy_error.iter();
        let policy_error = policy_error.map(|why| format!("POLICY FILES NOT LIVE {why}"));
        let paused = self.paused.iter().map(|line| format!("PAUSED {line}"));
        locked.chain(policy_error).chain(paused).collect()
    }
}

/// Asks each host. A reason is the host's: it may tell administrators only.
pub async fn asked(
    engine: &Arc<Engine>,
    hosts: Vec<HostName>,
) -> Vec<(HostName, Result<HostStatus, String>)> {
    let asked = hosts
        .into_iter()
        .map(|host| (host, words(&["status", "--json"])));
    let answers = engine.remit(asked, engine.manner()).await.into_iter();
    answers
        .map(|(host, answer)| {
            let status = answer.map_err(String::from);
            let status = status.and_then(|output| read(&remote::object(&output, "policy")?));
            (host, status)
        })
        .collect()
}

fn read(answer: &Map<String, Value>) -> Result<HostStatus, String> {
    let word = |key: &str, cap| {
        let word = answer.get(key).and_then(Value::as_str)?;
        Some(text::line(word.as_bytes(), cap))
    };
    let policy = word("policy", DIGEST).ok_or("its status names no policy")?;
    let locked = word("locked", WORDS).map(|why| match word("locked_by", 40) {
        Some(user) => format!("by {user}: {why}"),
        None => why,
    });
    let first_line = |text: &Value| {
        let line = text.as_str()?.lines().next()?;
        Some(text::line(line.as_bytes(), WORDS))
    };
    let paused = answer.get("paused").and_then(Value::as_array);
    let paused = paused.into_iter().flatten().take(PAUSED);
    Ok(HostStatus {
        policy,
        locked,
        policy_error: answer.get("policy_error").and_then(first_line),
        paused: paused.filter_map(first_line).collect(),
    })
}

/// Returns a line for each policy, that of most hosts first and without their names, if there are several.
pub fn policies(statuses: &[(HostName, Result<HostStatus, String>)]) -> String {
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    for (host, status) in statuses {
        if let Ok(status) = status {
            match found.iter_mut().find(|(known, _)| *known == status.policy) {
                Some((_, hosts)) => hosts.push(host.as_str()),
                None => found.push((&status.policy, vec![host.as_str()])),
            }
        }
    }
    // Stable: of two policies on as many hosts, that of the first host is first.
    found.sort_by_key(|(_, hosts)| std::cmp::Reverse(hosts.len()));
    let all: usize = found.iter().map(|(_, hosts)| hosts.len()).sum();
    let mut out = String::new();
    for (number, (policy, hosts)) in found.iter().enumerate() {
        let shown = policy.get(..SHOWN).unwrap_or(policy);
        let _ = write!(out, "policy {shown}  on {} of {all}", hosts.len());
        if number > 0 {
            let _ = write!(out, ": {}", hosts.join(" "));
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn other_policies_are_seen_at_a_glance() {
        let status = |policy: &str| {
            read(
                json!({"policy": policy, "locked": null})
                    .as_object()
                    .unwrap(),
            )
        };
        let statuses: Vec<_> = [
            ("web1", status(&"b".repeat(64))),
            ("web2", status(&"a".repeat(64))),
            ("web3", status(&"a".repeat(64))),
            ("web4", Err("you are no administrator".to_owned())),
            ("web5", status("\u{1b}[2J")),
        ]
        .into_iter()
        .map(|(host, status)| (host.parse().unwrap(), status))
        .collect();
        assert_eq!(
            policies(&statuses),
            "policy aaaaaaaaaaaa  on 2 of 4\n\
             policy bbbbbbbbbbbb  on 1 of 4: web1\n\
             policy \\x1b[2J  on 1 of 4: web5\n"
        );
        assert_eq!(policies(&[]), "");
        let locked = json!({"policy": "a", "locked": "what is it doing?", "locked_by": "ann"});
        let locked = read(locked.as_object().unwrap()).unwrap().locked;
        assert_eq!(locked.as_deref(), Some("by ann: what is it doing?"));
        assert!(read(&Map::new()).is_err());
        let status = json!({
            "policy": "a", "locked": "x", "policy_error": "a.toml:3: no key 'b'\n  b = 1\n  ^", "paused": vec!["ann: 9\u{1b}"; 12],
        });
        let remarks = read(status.as_object().unwrap()).unwrap().remarks();
        assert_eq!(remarks.len(), 2 + PAUSED);
        assert_eq!(
            remarks[..3],
            [
                "LOCKED x",
                "POLICY FILES NOT LIVE a.toml:3: no key 'b'",
                "PAUSED ann: 9\\x1b"
            ]
        );
        let usual = json!({"policy": "a", "locked": null, "policy_error": null, "paused": []});
        let usual = read(usual.as_object().unwrap()).unwrap();
        assert_eq!(usual.remarks(), [""; 0]);
    }
}
