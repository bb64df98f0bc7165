//! Parses a record from a line of JSON: the daemon's file, an export, or journalctl(1). Pure. Untrusted: names may repeat.

use std::borrow::Cow;
use std::fmt;

use remit_audit_verify::Entry;
use remit_common::builtin::Time;
use remit_common::names::JobId;
use remit_common::signed::Signed;
use remit_common::text;
use remit_trail::is_own;
use serde::Deserializer;
use serde::de::{self, Deserialize, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// In bytes. A journal cursor is shorter.
const CURSOR_LENGTH: usize = 200;
/// A position begins so if it is a cursor.
const JOURNAL_CURSOR: &str = "journal cursor ";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// The hash and the fields it covers. Empty if the line is not a record.
    pub entry: Entry,
    /// journald's receive time in milliseconds since 1970.
    taken_ms: Option<u64>,
    /// The reason if the line is not a record.
    pub why: Option<&'static str>,
    pub origin: Origin,
    /// journald says that another sender wrote it, or it is a line of the daemon's log.
    pub is_foreign: bool,
}

/// The machine that the record names as its own: journald's fields, which root of the machine can forge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    pub machine: Option<String>,
    pub host: Option<String>,
}

impl AuditRecord {
    /// `why` of a last line without its end. The daemon was stopped while it wrote, or the file was cut.
    const HALF: &str = "the line has no end";

    pub fn half(number: u64) -> Self {
        Self::unreadable(format!("line {number}"), Self::HALF)
    }

    pub fn is_half(&self) -> bool {
        self.why == Some(Self::HALF)
    }

    pub fn unreadable(position: String, why: &'static str) -> Self {
        let fields = Vec::new();
        Self {
            entry: Entry { fields, position },
            taken_ms: None,
            why: Some(why),
            origin: Origin::default(),
            is_foreign: false,
        }
    }

    pub fn of_line(line: &[u8], number: u64) -> Self {
        let position = format!("line {number}");
        // serde ignores white space around the object, which no record has.
        if line.first() != Some(&b'{') || line.last() != Some(&b'}') {
            return Self::unreadable(position, "the line is no JSON object");
        }
        let Ok(object) = serde_json::from_slice::<Object>(line) else {
            return Self::unreadable(position, "the line is no JSON object");
        };
        object.record(position)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.entry.fields.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn own(&self, name: &str) -> Option<&str> {
        let found = self
            .entry
            .fields
            .iter()
            .find(|(other, _)| other.strip_prefix("REMIT_") == Some(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Returns how many bytes of memory it takes, about.
    pub fn bytes(&self) -> usize {
        const FIELD: usize = size_of::<(String, String)>();
        let fields = self.entry.fields.iter();
        fields.fold(size_of::<Self>(), |all, (name, value)| {
            all + FIELD + name.len() + value.len()
        })
    }

    pub fn job(&self) -> Option<JobId> {
        self.own("JOB")?.parse().ok()
    }

    /// Returns what its rule asks of each approver's signature.
    pub fn signed(&self) -> Option<Signed> {
        let word = self.own("SIGNED")?;
        Signed::ALL.into_iter().find(|one| one.as_str() == word)
    }

    /// Returns the word for how the job or request ended, otherwise the decision.
    pub fn word(&self) -> Option<&str> {
        match (self.own("STATE"), self.own("EVENT")) {
            // One state has two words: a person denies, everything else makes void.
            (Some("denied"), Some("void")) => Some("void"),
            (Some(state), _) => Some(state),
            (None, _) => self.own("VERDICT"),
        }
    }

    pub fn seq(&self) -> Option<u64> {
        self.own("SEQ")?.parse().ok()
    }

    pub fn time_ms(&self) -> Option<u64> {
        let time = self.own("TIME").and_then(time_ms);
        time.or(self.taken_ms)
    }

    pub fn command(&self) -> Option<String> {
        match (self.own("COMMAND"), self.own("ARGS")) {
            (Some(name), Some(args)) => Some(format!("{name} {args}")),
            (Some(name), None) => Some(name.to_owned()),
            (None, _) => self.own("ARGV").map(str::to_owned),
        }
    }
}

#[derive(Debug, Default)]
struct Object {
    fields: Vec<(String, String)>,
    cursor: Option<String>,
    taken_us: Option<u64>,
    origin: Origin,
    /// It has fields that journald adds, so it has the next two.
    is_of_journal: bool,
    uids: Vec<String>,
    identifiers: Vec<String>,
    /// journalctl omitted a value.
    cut: bool,
}

impl Object {
    /// Any process can write fields of a record to journald, and all but its uid.
    fn is_foreign(&self) -> bool {
        let is_of_daemon =
            self.uids == ["0"] && self.identifiers.iter().any(|name| name == "remitd");
        let mut names = self.fields.iter().map(|(name, _)| name);
        self.is_of_journal && !(is_of_daemon && names.any(|name| name.starts_with("REMIT_")))
    }

    fn record(self, position: String) -> AuditRecord {
        let is_foreign = self.is_foreign();
        let position = match self.cursor {
            Some(cursor) => format!(
                "{JOURNAL_CURSOR}{}",
                text::line(cursor.as_bytes(), CURSOR_LENGTH)
            ),
            None => position,
        };
        let origin = self.origin;
        let unreadable = |position, why| AuditRecord {
            origin: origin.clone(),
            is_foreign,
            ..AuditRecord::unreadable(position, why)
        };
        if self.cut {
            return unreadable(position, "a value is left out: journalctl needs --all");
        }
        if self.fields.is_empty() {
            return unreadable(position, "it has no field of a record");
        }
        AuditRecord {
            entry: Entry {
                fields: self.fields,
                position,
            },
            taken_ms: self.taken_us.map(|us| us / 1000),
            why: None,
            origin,
            is_foreign,
        }
    }

    fn take(&mut self, name: String, value: Value) {
        self.is_of_journal |= name.starts_with('_');
        match (name.as_str(), value) {
            // journalctl writes its own first. A sender may have one of its own, which could be the position of an old record.
            ("__CURSOR", Value::Texts(texts)) => {
                self.cursor = self.cursor.take().or(texts.into_iter().next());
            }
            ("__REALTIME_TIMESTAMP", Value::Texts(texts)) => {
                self.taken_us = texts.first().and_then(|us| us.parse().ok());
            }
            ("_MACHINE_ID", Value::Texts(texts)) => self.origin.machine = texts.into_iter().next(),
            ("_HOSTNAME", Value::Texts(texts)) => self.origin.host = texts.into_iter().next(),
            ("_UID", Value::Texts(texts)) => self.uids.extend(texts),
            ("SYSLOG_IDENTIFIER", Value::Texts(texts)) => self.identifiers.extend(texts),
            (name, Value::Cut) if is_own(name) => self.cut = true,
            (name, Value::Texts(texts)) if is_own(name) => {
                let named = texts.into_iter().map(|text| (name.to_owned(), text));
                self.fields.extend(named);
            }
            (_, _) => {}
        }
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let mut object = Object::default();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            object.take(name, value);
        }
        Ok(object)
    }
}

/// A value in the format of journalctl(1) `-o json`.
#[derive(Debug, PartialEq, Eq)]
enum Value {
    /// One text, or several if the field repeats.
    Texts(Vec<String>),
    /// `null`: journalctl omitted it because of its length.
    Cut,
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue { nested: false })
    }
}

/// A value; `nested` if it is one of several of a field.
struct AnyValue {
    nested: bool,
}

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, its bytes, null, or several of these")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Texts(vec![text.to_owned()]))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::Texts(vec![text]))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Cut)
    }

    /// Bytes if the text has unprintable characters, otherwise several values.
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut bytes = Vec::new();
        let mut texts = Vec::new();
        let mut cut = false;
        while let Some(element) = seq.next_element_seed(Element {
            nested: self.nested,
        })? {
            match element {
                Piece::Byte(byte) => bytes.push(byte),
                Piece::Value(Value::Texts(more)) => texts.extend(more),
                Piece::Value(Value::Cut) => cut = true,
            }
        }
        if cut {
            return Ok(Value::Cut);
        }
        if texts.is_empty() {
            return Ok(Value::Texts(vec![match String::from_utf8_lossy(&bytes) {
                Cow::Borrowed(text) => text.to_owned(),
                // The daemon writes no noncharacter, so the hash will not match, whatever bytes are replaced.
                Cow::Owned(text) => text + "\u{ffff}",
            }]));
        }
        match bytes.is_empty() {
            true => Ok(Value::Texts(texts)),
            false => Err(de::Error::custom("bytes among texts")),
        }
    }
}

enum Piece {
    Byte(u8),
    Value(Value),
}

struct Element {
    nested: bool,
}

impl<'de> de::DeserializeSeed<'de> for Element {
    type Value = Piece;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Piece, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Element {
    type Value = Piece;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a byte or a value")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Piece, E> {
        let byte = u8::try_from(number).map_err(|_| E::custom("no byte"))?;
        Ok(Piece::Byte(byte))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Piece, E> {
        Ok(Piece::Value(Value::Texts(vec![text.to_owned()])))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Piece, E> {
        Ok(Piece::Value(Value::Cut))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Piece, A::Error> {
        if self.nested {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Err(de::Error::custom("values in values in values"));
        }
        AnyValue { nested: true }.visit_seq(seq).map(Piece::Value)
    }
}

/// Returns true for a position in a journal.
pub fn is_cursor(position: &str) -> bool {
    position.starts_with(JOURNAL_CURSOR)
}

/// Parses a record's time, `2026-11-20T08:11:11.042Z`, to milliseconds since 1970.
pub fn time_ms(text: &str) -> Option<u64> {
    let time: Time = text.parse().ok()?;
    matches!(time, Time::Date(..)).then(|| time.unix_ms(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(line: &str) -> Vec<(String, String)> {
        AuditRecord::of_line(line.as_bytes(), 7).entry.fields
    }

    fn of(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn values_come_as_journalctl_writes_them() {
        for (line, expect) in [
            (
                r#"{"MESSAGE":"a","_UID":"0","__CURSOR":"s=1"}"#,
                of(&[("MESSAGE", "a")]),
            ),
            (r#"{"REMIT_A":[98,195,188]}"#, of(&[("REMIT_A", "bü")])),
            (r#"{"REMIT_A":[]}"#, of(&[("REMIT_A", "")])),
            (
                r#"{"REMIT_A":["x","y"]}"#,
                of(&[("REMIT_A", "x"), ("REMIT_A", "y")]),
            ),
            (
                r#"{"REMIT_A":["x",[121]]}"#,
                of(&[("REMIT_A", "x"), ("REMIT_A", "y")]),
            ),
            (
                r#"{"REMIT_A":"x","REMIT_A":"y"}"#,
                of(&[("REMIT_A", "x"), ("REMIT_A", "y")]),
            ),
            (
                r#"{"REMIT_A":[255]}"#,
                of(&[("REMIT_A", "\u{fffd}\u{ffff}")]),
            ),
            (
                r#"{"REMIT_A":[239,191,189]}"#,
                of(&[("REMIT_A", "\u{fffd}")]),
            ),
            (
                r#"{"REMIT_A":[[120],[121]]}"#,
                of(&[("REMIT_A", "x"), ("REMIT_A", "y")]),
            ),
            (
                r#"{"REMIT_A":"x","_CMDLINE":null,"OTHER":"1"}"#,
                of(&[("REMIT_A", "x")]),
            ),
        ] {
            assert_eq!(fields(line), expect, "{line}");
        }
    }

    #[test]
    fn what_is_no_record_says_why() {
        for line in [
            "",
            "{",
            "{}",
            "[]",
            "null",
            " {\"MESSAGE\":\"a\"}",
            "{\"MESSAGE\":\"a\"} ",
            "{\"MESSAGE\":\"a\"}{}",
            "{\"MESSAGE\":\"a\"",
            "{\"MESSAGE\":null}",
            "{\"MESSAGE\":[\"a\",null]}",
            "{\"MESSAGE\":7}",
            "{\"MESSAGE\":true}",
            "{\"MESSAGE\":{}}",
            "{\"MESSAGE\":[256]}",
            "{\"MESSAGE\":[-1]}",
            "{\"MESSAGE\":[1.5]}",
            "{\"MESSAGE\":[\"a\",1]}",
            "{\"MESSAGE\":[[[1]]]}",
            "{\"MESSAGE\":\"\\ud800\"}",
            "{\"_UID\":\"0\"}",
        ] {
            let record = AuditRecord::of_line(line.as_bytes(), 7);
            assert!(
                record.entry.fields.is_empty() && record.why.is_some(),
                "{line}: {record:?}"
            );
            assert_eq!(record.entry.position, "line 7");
        }
        let deep = format!("{{\"MESSAGE\":{}{}}}", "[".repeat(9999), "]".repeat(9999));
        assert!(fields(&deep).is_empty());
    }

    #[test]
    fn journal_record_has_cursor_and_time() {
        let line = r#"{"__CURSOR":"s=1\u001b","__REALTIME_TIMESTAMP":"1795163148042999","MESSAGE":"a","REMIT_SEQ":"3"}"#;
        let record = AuditRecord::of_line(line.as_bytes(), 7);
        assert_eq!(record.entry.position, "journal cursor s=1\\x1b");
        assert_eq!(
            (record.seq(), record.time_ms()),
            (Some(3), Some(1_795_163_148_042))
        );
        let forged = line.replace("\"MESSAGE\"", "\"__CURSOR\":\"s=2\",\"MESSAGE\"");
        let record = AuditRecord::of_line(forged.as_bytes(), 7);
        assert_eq!(record.entry.position, "journal cursor s=1\\x1b");
        let line = line.replace(
            "\"REMIT_SEQ\"",
            "\"REMIT_TIME\":\"1970-01-01T00:00:01.500Z\",\"REMIT_SEQ\"",
        );
        let record = AuditRecord::of_line(line.as_bytes(), 7);
        assert_eq!(record.time_ms(), Some(1500));
    }

    #[test]
    fn named_command_is_shown_with_arguments() {
        for (fields, expect) in [
            (
                r#""REMIT_COMMAND":"service.restart","REMIT_ARGS":"unit=a.service","REMIT_ARGV":"x""#,
                Some("service.restart unit=a.service"),
            ),
            (r#""REMIT_COMMAND":"logs","REMIT_ARGV":"x""#, Some("logs")),
            (r#""REMIT_ARGV":"df -h""#, Some("df -h")),
            (r#""REMIT_ARGS":"x""#, None),
        ] {
            let record = AuditRecord::of_line(format!("{{{fields}}}").as_bytes(), 1);
            assert_eq!(record.command().as_deref(), expect);
        }
    }
}
