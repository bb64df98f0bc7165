//! One record, out of a line of JSON: of the daemon's own file, of an export, or of journalctl(1).
//!
//! Whoever wrote the line is not trusted: a name may come twice, a value may be anything. Pure.

use std::fmt;

use remit_common::text;
use remit_trail::Entry;
use serde::Deserializer;
use serde::de::{self, Deserialize, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The longest place that is told, in bytes: a cursor of the journal is shorter.
const PLACE: usize = 200;

/// What one line is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What its hash covers, and its hash. Without fields it is no record.
    pub entry: Entry,
    /// When the journal took it, in milliseconds since 1970.
    taken_ms: Option<u64>,
    /// Why it is no record.
    pub why: Option<&'static str>,
}

impl Record {
    /// What cannot be read.
    pub fn unreadable(place: String, why: &'static str) -> Self {
        let fields = Vec::new();
        Self {
            entry: Entry { fields, place },
            taken_ms: None,
            why: Some(why),
        }
    }

    /// A record from its line, without the end of the line.
    pub fn of_line(line: &[u8], number: u64) -> Self {
        let place = format!("line {number}");
        // What stands around the object would be nobody's.
        if line.first() != Some(&b'{') || line.last() != Some(&b'}') {
            return Self::unreadable(place, "the line is no JSON object");
        }
        let Ok(object) = serde_json::from_slice::<Object>(line) else {
            return Self::unreadable(place, "the line is no JSON object");
        };
        object.record(place)
    }

    /// The value of a field, by its whole name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.entry.fields.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The value of a field of ours, by its name without `REMIT_`.
    pub fn ours(&self, name: &str) -> Option<&str> {
        let found = self
            .entry
            .fields
            .iter()
            .find(|(other, _)| other.strip_prefix("REMIT_") == Some(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Its number.
    pub fn seq(&self) -> Option<u64> {
        self.ours("SEQ")?.parse().ok()
    }

    /// When it was written, in milliseconds since 1970.
    pub fn time_ms(&self) -> Option<u64> {
        let time = self.ours("TIME").and_then(super::filter::time_ms);
        time.or(self.taken_ms)
    }

    /// What was asked to run, as far as the record says: a named command with its words, or the argv.
    pub fn command(&self) -> Option<String> {
        match (self.ours("COMMAND"), self.ours("ARGS")) {
            (Some(name), Some(args)) => Some(format!("{name} {args}")),
            (Some(name), None) => Some(name.to_owned()),
            (None, _) => self.ours("ARGV").map(str::to_owned),
        }
    }
}

/// Whether a field belongs to a record: what its hash covers, and the hash.
fn belongs(name: &str) -> bool {
    matches!(name, "MESSAGE" | "MESSAGE_ID" | "PRIORITY") || name.starts_with("REMIT_")
}

/// The members of an object, each as often as it stands there.
#[derive(Debug, Default)]
struct Object {
    fields: Vec<(String, String)>,
    cursor: Option<String>,
    taken_us: Option<u64>,
    /// A value is not there in full.
    cut: bool,
}

impl Object {
    fn record(self, place: String) -> Record {
        let place = match self.cursor {
            Some(cursor) => format!("journal cursor {}", text::line(cursor.as_bytes(), PLACE)),
            None => place,
        };
        if self.cut {
            return Record::unreadable(place, "a value is left out: journalctl needs --all");
        }
        if self.fields.is_empty() {
            return Record::unreadable(place, "it has no field of a record");
        }
        Record {
            entry: Entry {
                fields: self.fields,
                place,
            },
            taken_ms: self.taken_us.map(|us| us / 1000),
            why: None,
        }
    }

    fn take(&mut self, name: String, value: Value) {
        match (name.as_str(), value) {
            ("__CURSOR", Value::Texts(texts)) => self.cursor = texts.into_iter().next(),
            ("__REALTIME_TIMESTAMP", Value::Texts(texts)) => {
                self.taken_us = texts.first().and_then(|us| us.parse().ok());
            }
            (name, Value::Cut) if belongs(name) => self.cut = true,
            (name, Value::Texts(texts)) if belongs(name) => {
                let named = texts.into_iter().map(|text| (name.to_owned(), text));
                self.fields.extend(named);
            }
            // What a sink adds.
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

/// A value as journalctl(1) writes it with `-o json`.
#[derive(Debug, PartialEq, Eq)]
enum Value {
    /// One text; several where the field is there more than once.
    Texts(Vec<String>),
    /// `null`: too long to be shown.
    Cut,
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue { nested: false })
    }
}

/// A value, or with `nested` one of the several of a field.
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

    /// Bytes, where the text has something that journalctl does not print; or several values.
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
            // What is no UTF-8 was never written by the daemon, and its hash will say so.
            return Ok(Value::Texts(vec![
                String::from_utf8_lossy(&bytes).into_owned(),
            ]));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(line: &str) -> Vec<(String, String)> {
        Record::of_line(line.as_bytes(), 7).entry.fields
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
            (r#"{"REMIT_A":[255]}"#, of(&[("REMIT_A", "\u{fffd}")])),
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
            let record = Record::of_line(line.as_bytes(), 7);
            assert!(
                record.entry.fields.is_empty() && record.why.is_some(),
                "{line}: {record:?}"
            );
            assert_eq!(record.entry.place, "line 7");
        }
        let deep = format!("{{\"MESSAGE\":{}{}}}", "[".repeat(9999), "]".repeat(9999));
        assert!(fields(&deep).is_empty());
    }

    #[test]
    fn a_record_of_the_journal_is_found_by_its_cursor_and_has_its_time() {
        let line = r#"{"__CURSOR":"s=1\u001b","__REALTIME_TIMESTAMP":"1795163148042999","MESSAGE":"a","REMIT_SEQ":"3"}"#;
        let record = Record::of_line(line.as_bytes(), 7);
        assert_eq!(record.entry.place, "journal cursor s=1\\x1b");
        assert_eq!(
            (record.seq(), record.time_ms()),
            (Some(3), Some(1_795_163_148_042))
        );
        let line = line.replace(
            "\"REMIT_SEQ\"",
            "\"REMIT_TIME\":\"1970-01-01T00:00:01.500Z\",\"REMIT_SEQ\"",
        );
        let record = Record::of_line(line.as_bytes(), 7);
        assert_eq!(record.time_ms(), Some(1500));
    }

    #[test]
    fn a_named_command_is_told_with_its_words() {
        for (fields, expect) in [
            (
                r#""REMIT_COMMAND":"service.restart","REMIT_ARGS":"unit=a.service","REMIT_ARGV":"x""#,
                Some("service.restart unit=a.service"),
            ),
            (r#""REMIT_COMMAND":"logs","REMIT_ARGV":"x""#, Some("logs")),
            (r#""REMIT_ARGV":"df -h""#, Some("df -h")),
            (r#""REMIT_ARGS":"x""#, None),
        ] {
            let record = Record::of_line(format!("{{{fields}}}").as_bytes(), 1);
            assert_eq!(record.command().as_deref(), expect);
        }
    }
}
