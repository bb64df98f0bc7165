//! What a verification says: its first line, its facts, and its JSON. Pure.

use remit_audit_verify::{Finding, Kind, Report};
use remit_trail::hex;
use serde_json::{Value, json};

use super::super::gaps::Gap;
use super::super::head::Head;
use super::super::record::is_cursor;
use super::Verification;
use crate::render::{table, units};

impl Verification {
    /// Returns number and hash of the last record, to be kept on another machine. `None` if there are findings.
    fn keep(&self) -> Option<String> {
        let (_, last) = self.report.range?;
        let hash = self
            .report
            .last_hash
            .filter(|_| self.report.findings.is_empty())?;
        Some(format!("{last}:{}", hex(&hash)))
    }

    pub(super) fn page(&self) -> String {
        let facts = self.facts();
        let facts = facts.iter().map(|(name, value)| table::fact(name, value));
        format!("{}\n{}", self.verdict(), facts.collect::<String>())
    }

    /// Returns the first line: what was found first, or from which record on the audit log is whole.
    pub fn verdict(&self) -> String {
        match (self.report.findings.first(), self.report.records) {
            (Some(first), _) => {
                let gap = self.gaps.first().copied().flatten();
                let first = sentence(first, gap, is_line);
                format!("the audit log is not whole: {first}")
            }
            (None, 0) => "there are no records".to_owned(),
            (None, _) => whole(&self.report),
        }
    }

    /// Names and values, in the order of reading. A value without a name belongs to the one before.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let report = &self.report;
        let mut facts = Vec::new();
        let mut fact = |name, value: &str| facts.push((name, value.to_owned()));
        let more = |number, word| format!("and {} more", units::count(number, word));
        fact("read", &self.source);
        fact("records", &report.records.to_string());
        if let Some((first, last)) = report.range {
            fact("numbers", &format!("{first} to {last}"));
        }
        if let Some((first, last)) = self.times {
            let (first, last) = (units::time(first / 1000), units::time(last / 1000));
            fact("written", &format!("{first} to {last}"));
        }
        match &self.head {
            Head::Unknown(why) => fact("end", &format!("not compared: {why}")),
            Head::Daemon(head) => fact(
                "end",
                &format!("compared with record {} of the daemon", head.seq),
            ),
            Head::File { newest: head, .. } => fact(
                "end",
                &format!(
                    "compared with record {} of the state directory: the daemon does not run",
                    head.seq
                ),
            ),
        }
        let findings = report.findings.iter().zip(&self.gaps);
        for ((finding, gap), cause) in findings.zip(&self.causes) {
            // A cursor is of the record after a gap, which its number finds as well.
            let is_shown = |position: &str| finding.kind != Kind::Gap || is_line(position);
            fact("finding", &sentence(finding, *gap, is_shown));
            if let Some(cause) = cause {
                fact("", cause);
            }
        }
        if report.more_findings > 0 {
            fact("", &more(report.more_findings, "finding"));
        }
        for note in &report.notes {
            fact("note", &note.text);
        }
        if report.more_notes > 0 {
            fact("", &more(report.more_notes, "note"));
        }
        if let Some(keep) = self.keep() {
            fact("keep this", &format!("remit audit verify --expect {keep}"));
        }
        facts
    }

    pub(super) fn json(&self) -> Value {
        let report = &self.report;
        let findings = report.findings.iter().zip(&self.gaps);
        let findings: Vec<Value> = findings
            .zip(&self.causes)
            .map(|((finding, gap), cause)| {
                json!({
                    "kind": finding.kind.word(),
                    "seq": finding.seq,
                    "last": finding.last,
                    "place": finding.position,
                    "text": finding.text,
                    "from_ms": gap.map(|gap| gap.from_ms),
                    "to_ms": gap.map(|gap| gap.to_ms),
                    "cause": cause,
                })
            })
            .collect();
        let notes: Vec<Value> = report
            .notes
            .iter()
            .map(|note| json!({ "seq": note.seq, "text": note.text }))
            .collect();
        json!({
            "whole": self.is_whole(),
            "verdict": self.verdict(),
            "read": self.source,
            "records": report.records,
            "first": report.range.map(|(first, _)| first),
            "last": report.range.map(|(_, last)| last),
            "first_ms": self.times.map(|(first, _)| first),
            "last_ms": self.times.map(|(_, last)| last),
            "not_compared": report.uncompared,
            "end": self.head.expected().map(|head| head.seq),
            "end_unknown": match &self.head {
                Head::Unknown(why) => Some(why),
                Head::Daemon(_) | Head::File { .. } => None,
            },
            "findings": findings,
            "more_findings": report.more_findings,
            "notes": notes,
            "more_notes": report.more_notes,
            "keep": self.keep(),
        })
    }
}

fn whole(report: &Report) -> String {
    let mut text = "the audit log is whole".to_owned();
    if let Some(first) = report.late_begin {
        let earlier = match first.saturating_sub(1) {
            1 => "the one before it is not here".to_owned(),
            more => format!("{more} earlier ones are not here"),
        };
        text += &format!(" from record {first} on; {earlier}");
    }
    match report.uncompared.as_slice() {
        [] => {}
        [one] => {
            text += &format!(
                "; expected record {one} was not compared: it is older than the beginning"
            );
        }
        [.., newest] => {
            text += &format!(
                "; {} expected records up to {newest} were not compared: they are older than the beginning",
                report.uncompared.len()
            );
        }
    }
    text
}

fn is_line(position: &str) -> bool {
    !is_cursor(position)
}

/// Returns the finding in words, with the times of the records around `gap`, and with its position if that is shown.
fn sentence(finding: &Finding, gap: Option<Gap>, is_shown: impl Fn(&str) -> bool) -> String {
    let mut text = finding.text.clone();
    if let Some(Gap { from_ms, to_ms, .. }) = gap {
        let (from, to) = (units::time(from_ms / 1000), units::time(to_ms / 1000));
        text += &format!(", written between {from} and {to}");
    }
    match finding.position.as_str() {
        "" => text,
        position if is_shown(position) => format!("{text} ({position})"),
        _ => text,
    }
}
