//! Which policy and settings the audit log last said to be in force: `STATE/warden/in-force`. A start compares with it, for
//! a policy and settings can change while no daemon runs, and settings apply from a start on.

use std::io;
use std::path::Path;

use remit_common::text;
use remit_trail::RecordVerdict;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::policy_reload::short;
use crate::audit::chain::hex;
use crate::audit::{Event, Record};
use crate::config::Config;
use crate::state_dir::framed_file::Snapshot;

const MAGIC: &[u8] = b"remit in force 1\n";
/// Bytes. Settings have at most those of their file, 1 MiB.
const MOST: u64 = 4 << 20;
/// Bytes of a value in a record.
const VALUE: usize = 200;
/// Bytes of changed settings in a sentence. The record's field has more.
const IN_SENTENCE: usize = 240;
/// Sections about permissions, and about what is recorded. They come first in a record.
const DECIDING: [&str; 7] = [
    "floor.",
    "accounts.",
    "sandbox.",
    "breaker.",
    "policy.",
    "approval.",
    "audit.",
];
const UNKNOWN: &str = "not known";

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedInForce {
    policy: String,
    /// Keys and values ([`Config::values`]).
    settings: Vec<(String, String)>,
}

impl RecordedInForce {
    /// `policy`: its digest.
    pub fn new(policy: &str, settings: &Config) -> Self {
        let values = settings.values().into_iter();
        Self {
            policy: policy.to_owned(),
            settings: values.map(|(key, value)| (key.to_owned(), value)).collect(),
        }
    }

    /// Returns what was saved last, or `None` without a file. Fails with the reason if the file is damaged.
    pub fn read(state: &Path) -> Result<Option<Self>, String> {
        let parse = |body: Vec<u8>| postcard::from_bytes(&body).map_err(|error| error.to_string());
        file(state).read()?.map(parse).transpose()
    }

    /// Saves it if it differs from `saved`, on the disk before it replaces that.
    pub fn save(&self, saved: Option<&Self>, state: &Path) -> io::Result<()> {
        if saved == Some(self) {
            return Ok(());
        }
        let body = postcard::to_extend(self, Vec::new()).map_err(io::Error::other)?;
        file(state).replace(&body, true)
    }

    /// Returns the SHA-256 of all settings, in hexadecimal.
    pub fn settings_digest(&self) -> String {
        let lines = self.settings.iter();
        let lines = lines.map(|(key, value)| format!("{key} = {value}\n"));
        hex(&Sha256::digest(lines.collect::<String>()))
    }

    /// Returns the record of what a start has changed. `None`: nothing. `went_down`: so did the machine, and the record of
    /// `before` may be lost.
    pub fn record(&self, before: Option<&Self>, went_down: bool) -> Option<Record> {
        let name = short(&self.policy);
        let (policy, changes) = match before {
            None => (
                format!("{name} is in force since this start"),
                format!("{UNKNOWN}: what was in force before is not known"),
            ),
            Some(before) if before.policy == self.policy => (
                format!("{name} is still in force"),
                match went_down {
                    true => format!(
                        "{UNKNOWN}: the machine went down, and the record of an earlier change may be lost"
                    ),
                    false => "no permission changes".to_owned(),
                },
            ),
            Some(before) => (
                format!(
                    "{name} is in force since this start, before it {}",
                    short(&before.policy)
                ),
                format!(
                    "{UNKNOWN}: it came into force by a start, before it was {}",
                    before.policy
                ),
            ),
        };
        let settings = match before {
            None => Some(UNKNOWN.to_owned()),
            Some(before) => {
                let changed = self.changed_settings(before);
                changed.or_else(|| went_down.then(|| UNKNOWN.to_owned()))
            }
        };
        let is_same = before.is_some_and(|before| before.policy == self.policy);
        if is_same && settings.is_none() {
            return None;
        }
        let and = settings.as_ref().map_or_else(String::new, |settings| {
            let settings = text::line(settings.as_bytes(), IN_SENTENCE);
            format!("; changed settings: {settings}")
        });
        let record = Record::new(Event::Policy, format!("policy {policy}{and}"))
            .field("POLICY", &self.policy)
            .field("VERDICT", RecordVerdict::Loaded.name())
            .field("CHANGES", changes)
            .field("SETTINGS", self.settings_digest())
            .maybe("SETTINGS_CHANGES", settings);
        Some(record)
    }

    /// A key that `before` does not have had the value that is its default now.
    fn changed_settings(&self, before: &Self) -> Option<String> {
        let default = Self::new("", &Config::default());
        let settings = self.settings.iter().map(|(key, new)| {
            let mut all = before.settings.iter().chain(&default.settings);
            let old = all.find(|(other, _)| other == key);
            (key, old.map_or("", |(_, value)| value.as_str()), new)
        });
        let mut changed: Vec<_> = settings.filter(|(_, old, new)| old != new).collect();
        changed.sort_by_key(|(key, _, _)| {
            let section = DECIDING.iter().position(|name| key.starts_with(name));
            section.unwrap_or(DECIDING.len())
        });
        let value = |value: &str| text::line(value.as_bytes(), VALUE);
        let lines = changed.into_iter();
        let lines = lines.map(|(key, old, new)| format!("{key}: {} -> {}", value(old), value(new)));
        let lines: Vec<String> = lines.collect();
        (!lines.is_empty()).then(|| lines.join("; "))
    }
}

fn file(state: &Path) -> Snapshot {
    Snapshot::new(state, "in-force", MAGIC, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
        let mut fields = record.fields.iter();
        let found = fields.find(|(other, _)| *other == name);
        found.map(|(_, value)| value.as_str())
    }

    fn with_floor(approval: bool) -> Config {
        let mut config = Config::default();
        config.floor.approval = approval;
        config
    }

    #[test]
    fn start_records_what_differs_from_the_last_record() {
        let (old, new) = ("a".repeat(64), "b".repeat(64));
        let before = RecordedInForce::new(&old, &with_floor(true));
        let floor = Some("floor.approval: true -> false");
        let by_start = format!("not known: it came into force by a start, before it was {old}");
        for (policy, config, message, changes, settings) in [
            (
                &new,
                with_floor(true),
                "policy bbbbbbbbbbbb is in force since this start, before it aaaaaaaaaaaa",
                by_start.as_str(),
                None,
            ),
            (
                &old,
                with_floor(false),
                "policy aaaaaaaaaaaa is still in force; changed settings: floor.approval: true -> false",
                "no permission changes",
                floor,
            ),
            (
                &new,
                with_floor(false),
                "policy bbbbbbbbbbbb is in force since this start, before it aaaaaaaaaaaa; \
                 changed settings: floor.approval: true -> false",
                by_start.as_str(),
                floor,
            ),
        ] {
            let now = RecordedInForce::new(policy, &config);
            let record = now.record(Some(&before), false).unwrap();
            assert_eq!(
                (record.event, record.message.as_str()),
                (Event::Policy, message)
            );
            assert_eq!(value(&record, "POLICY"), Some(policy.as_str()));
            assert_eq!(value(&record, "VERDICT"), Some("loaded"));
            assert_eq!(value(&record, "CHANGES"), Some(changes));
            assert_eq!(value(&record, "SETTINGS_CHANGES"), settings);
            let digest = now.settings_digest();
            assert_eq!(value(&record, "SETTINGS"), Some(digest.as_str()));
            let is_same = digest == before.settings_digest();
            assert_eq!(is_same, settings.is_none());
            assert_eq!(now.record(Some(&now), false), None, "{message}");
            let again = now.record(Some(&now), true).unwrap();
            let end = " is still in force; changed settings: not known";
            assert!(again.message.ends_with(end), "{again:?}");
            let changes = value(&again, "CHANGES").unwrap();
            assert!(changes.starts_with("not known: "), "{changes}");
            assert_eq!(value(&again, "SETTINGS"), Some(digest.as_str()));
        }
    }

    #[test]
    fn unknown_past_is_recorded_as_unknown() {
        let now = RecordedInForce::new("c", &Config::default());
        let record = now.record(None, false).unwrap();
        assert_eq!(value(&record, "SETTINGS_CHANGES"), Some("not known"));
        let changes = value(&record, "CHANGES").unwrap();
        assert!(changes.starts_with("not known: "), "{changes}");
    }

    #[test]
    fn settings_that_decide_come_first_and_new_keys_are_compared_with_defaults() {
        let mut before = RecordedInForce::new("p", &Config::default());
        before
            .settings
            .retain(|(key, _)| !key.starts_with("floor."));
        let mut config = with_floor(true);
        config.jobs.max = 9;
        config.limits.tasks = 7;
        config.audit.kernel = true;
        config.floor.approvers = vec!["x".repeat(VALUE)];
        let changed = RecordedInForce::new("p", &config).changed_settings(&before);
        let changed = changed.unwrap();
        let keys: Vec<_> = changed
            .split("; ")
            .map(|one| one.split_once(": ").unwrap().0)
            .collect();
        let expect = [
            "floor.approval",
            "floor.approvers",
            "audit.kernel",
            "jobs.max",
            "limits.tasks",
        ];
        assert_eq!(keys, expect, "{changed}");
        assert!(changed.contains("xxx…"), "{changed}");
    }

    #[test]
    fn saved_state_is_read_back_and_damage_is_not_believed() {
        let state = nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-in-force-XXXXXX"));
        let state = state.unwrap();
        std::fs::create_dir(state.join("warden")).unwrap();
        assert_eq!(RecordedInForce::read(&state), Ok(None));
        let now = RecordedInForce::new("d", &with_floor(true));
        now.save(None, &state).unwrap();
        assert_eq!(RecordedInForce::read(&state), Ok(Some(now)));
        let path = file(&state).path;
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.pop();
        std::fs::write(&path, &bytes).unwrap();
        assert!(RecordedInForce::read(&state).is_err());
        RecordedInForce::new("e", &Config::default())
            .save(None, &state)
            .unwrap();
        assert!(RecordedInForce::read(&state).is_ok());
        std::fs::remove_dir_all(state).unwrap();
    }
}
