//! `remit audit verify`: are all records there, in order, and as they were written?

use std::ops::ControlFlow;
use std::thread;
use std::time::Duration;

use remit_trail::{Expected, Finding, Kind, Report, Verifier, hex};
use serde_json::{Value, json};

use super::filter::Span;
use super::head::Head;
use super::loss::{self, Gaps};
use super::source::Source;
use crate::app::Context;
use crate::args::VerifyArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Form};
use crate::{human, table};

/// The journal has what the daemon sent within this time; else it is read again, so often.
const WRITTEN: Duration = Duration::from_secs(1);
const TRIES: u32 = 5;

/// What one reading found.
struct Reading {
    report: Report,
    gaps: Gaps,
    /// When the first and the last record were written, in milliseconds since 1970.
    times: Option<(u64, u64)>,
}

/// What is told.
struct Told {
    report: Report,
    times: Option<(u64, u64)>,
    source: String,
    head: Head,
    /// Only what was written in some time was read.
    of_a_time: bool,
    /// What journald says about a gap; one for each finding.
    causes: Vec<Option<String>>,
}

/// Tells it. The exit status is 0 for a whole trail and 1 for another.
pub fn verify(context: &Context, args: &VerifyArgs) -> Result<Exit, Failure> {
    let source = Source::of(&args.trail)?;
    let span = Span::of(&args.span);
    // Before the records are read: what is written meanwhile is more than it says, and never less.
    let head = match (source.is_live(), span.until) {
        (true, None) => Head::ask(context, &args.trail.state),
        (true, Some(_)) => Head::Unknown("what came after --until was not read".into()),
        (false, _) => Head::Unknown("--expect tells what these files must have".into()),
    };
    let mut reading = read(&source, span, &args.expect, &head)?;
    if let Source::Journal(journal) = &source {
        let mut tries = TRIES;
        while ends_early(&reading.report) && head.expected().is_some() && tries > 0 {
            journal.sync();
            thread::sleep(WRITTEN);
            tries -= 1;
            reading = read(&source, span, &args.expect, &head)?;
        }
    }
    if let Some(finding) = head.is_behind(context, &args.trail.state, &reading.report) {
        reading.report.findings.push(finding);
    }
    let told = Told::of(reading, &source, head, span);
    match context.form {
        Form::Json => output::json(&told.json())?,
        Form::Text => output::text(&told.page())?,
    }
    Ok(match told.is_whole() {
        true => Exit::OK,
        false => Exit::FOUND,
    })
}

fn ends_early(report: &Report) -> bool {
    let kinds = report.findings.iter().map(|finding| finding.kind);
    kinds.into_iter().any(|kind| kind == Kind::Truncated)
}

fn read(source: &Source, span: Span, expect: &[Expected], head: &Head) -> Result<Reading, Failure> {
    let mut verifier = Verifier::default();
    let mut gaps = Gaps::default();
    let mut times = None;
    let mut begun = span.since.is_none();
    expect.iter().for_each(|one| verifier.expect(*one));
    source.all(span.since, &mut |record| {
        if let Some(ms) = record.time_ms() {
            begun |= span.has_begun(ms);
            if begun && span.is_over(ms) {
                return Ok(ControlFlow::Break(()));
            }
        }
        if begun {
            gaps.take(&record);
            if let Some(ms) = record.time_ms() {
                times = Some((times.map_or(ms, |(first, _)| first), ms));
            }
            verifier.take(&record.entry);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    // Nothing may have happened since then.
    let may_be_none = span.since.is_some() && times.is_none();
    let head = head.expected().filter(|_| !may_be_none);
    Ok(Reading {
        report: verifier.finish(head),
        gaps,
        times,
    })
}

impl Told {
    fn of(reading: Reading, source: &Source, head: Head, span: Span) -> Self {
        let Reading {
            report,
            gaps,
            times,
        } = reading;
        let cause = |finding: &Finding| match (source, gaps.of(finding)) {
            (Source::Journal(journal), Some(gap)) => Some(match loss::cause(journal, gap) {
                Ok(cause) => cause,
                Err(_) => "what journald says of itself cannot be read".to_owned(),
            }),
            (Source::Files { live: true, .. }, _) if finding.kind == Kind::Truncated => Some(
                "if the file was rotated, give the older one before it: --file OLDER --file NEWER"
                    .into(),
            ),
            (_, _) => None,
        };
        Self {
            causes: report.findings.iter().map(cause).collect(),
            report,
            times,
            source: source.name(),
            head,
            of_a_time: span != Span::default(),
        }
    }

    /// Whether nothing is wrong. That there is no record at all is no good news where nobody knows the end.
    fn is_whole(&self) -> bool {
        let is_told = self.report.records > 0 || self.head.expected().is_some() || self.of_a_time;
        self.report.findings.is_empty() && is_told
    }

    /// The line to keep elsewhere: number and hash of the last record, where nothing is wrong.
    fn keep(&self) -> Option<String> {
        let (_, last) = self.report.range?;
        let hash = self
            .report
            .last_hash
            .filter(|_| self.report.findings.is_empty())?;
        Some(format!("{last}:{}", hex(&hash)))
    }

    fn page(&self) -> String {
        let report = &self.report;
        let mut lines = match (report.findings.first(), report.records) {
            (Some(first), _) => format!("the trail is not whole: {}\n", sentence(first)),
            (None, 0) => "there are no records\n".to_owned(),
            (None, _) => "the trail is whole\n".to_owned(),
        };
        let mut fact = |name: &str, value: &str| lines += &table::fact(name, value);
        fact("read", &self.source);
        fact("records", &report.records.to_string());
        if let Some((first, last)) = report.range {
            fact("numbers", &format!("{first} to {last}"));
        }
        if let Some((first, last)) = self.times {
            let (first, last) = (human::time(first / 1000), human::time(last / 1000));
            fact("written", &format!("{first} to {last}"));
        }
        match &self.head {
            Head::Unknown(why) => fact("end", &format!("not compared: {why}")),
            Head::Daemon(head) => fact(
                "end",
                &format!("compared with record {} of the daemon", head.seq),
            ),
            Head::File(head) => fact(
                "end",
                &format!(
                    "compared with record {} of the state directory: the daemon does not run",
                    head.seq
                ),
            ),
        }
        for (finding, cause) in report.findings.iter().zip(&self.causes) {
            fact("finding", &sentence(finding));
            if let Some(cause) = cause {
                fact("", cause);
            }
        }
        if report.more_findings > 0 {
            fact(
                "",
                &format!("and {} more", human::count(report.more_findings, "finding")),
            );
        }
        for note in &report.notes {
            fact("note", &note.text);
        }
        if report.more_notes > 0 {
            fact(
                "",
                &format!("and {} more", human::count(report.more_notes, "note")),
            );
        }
        if let Some(keep) = self.keep() {
            fact("keep this", &format!("remit audit verify --expect {keep}"));
        }
        lines
    }

    fn json(&self) -> Value {
        let report = &self.report;
        let findings = report.findings.iter().zip(&self.causes);
        let findings: Vec<Value> = findings
            .map(|(finding, cause)| {
                json!({
                    "kind": kind(finding.kind),
                    "seq": finding.seq,
                    "last": finding.last,
                    "place": finding.place,
                    "text": finding.text,
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
            "read": self.source,
            "records": report.records,
            "first": report.range.map(|(first, _)| first),
            "last": report.range.map(|(_, last)| last),
            "first_ms": self.times.map(|(first, _)| first),
            "last_ms": self.times.map(|(_, last)| last),
            "end": self.head.expected().map(|head| head.seq),
            "end_unknown": match &self.head {
                Head::Unknown(why) => Some(why),
                Head::Daemon(_) | Head::File(_) => None,
            },
            "findings": findings,
            "more_findings": report.more_findings,
            "notes": notes,
            "more_notes": report.more_notes,
            "keep": self.keep(),
        })
    }
}

/// A finding with its place.
fn sentence(finding: &Finding) -> String {
    match finding.place.as_str() {
        "" => finding.text.clone(),
        place => format!("{} ({place})", finding.text),
    }
}

/// What kind of wrong, for programs.
fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Gap => "gap",
        Kind::Edit => "edit",
        Kind::Order => "order",
        Kind::Double => "double",
        Kind::Truncated => "truncated",
        Kind::Fork => "fork",
        Kind::Unreadable => "unreadable",
    }
}
