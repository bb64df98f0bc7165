//! The same records, in a file and in a journal: a program that answers as journalctl(1) prints them.

use std::fs;
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use remit_common::names::Runtime;
use remit_trail::{Hash, hash, hex, unhex};
use serde_json::{Map, Value};

use super::super::filter::Filter;
use super::super::journal::Journal;
use super::super::record::time_ms;
use super::*;
use crate::external_program::Program;
use crate::render::units;

const JOURNALCTL: &str = r#"#!/bin/sh
since=0 until=9999999999 order=cat own= ids=
for arg; do
  case $arg in
    --since=@*) since=${arg#*@} ;;
    --until=@*) until=${arg#*@} ;;
    --reverse) order=tac ;;
    SYSLOG_IDENTIFIER=remitd) own=1 ;;
    MESSAGE_ID=*) ids=1 ;;
  esac
done
# These records have an event of a newer remit.
[ "$own$ids" = 11 ] && exit 0
$order "$0.records" | while IFS='	' read -r ms line; do
  # A list in reverse ends at the first older entry.
  [ "$ms" -lt "${since}000" ] && [ "$order" = tac ] && break
  [ "$ms" -lt "${since}000" ] || [ "$ms" -gt "${until}000" ] && continue
  printf '%s\n' "$line"
done
"#;

fn hour() -> u64 {
    time_ms("2026-11-20T08:00:00.000Z").unwrap()
}

/// A log of 50 records. Record N is `step` milliseconds after record N - 1, but for a clock that was set back.
struct TestLog {
    dir: PathBuf,
    records: Vec<(u64, String, Hash)>,
    start: u64,
    step: u64,
    /// After this record the clock is set back by ten steps.
    set_back: u64,
}

impl Drop for TestLog {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl TestLog {
    fn new(step: u64, offset: u64) -> Self {
        Self::set_back(step, offset, u64::MAX)
    }

    fn set_back(step: u64, offset: u64, set_back: u64) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("remit-verify-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        let program = dir.join("journalctl");
        fs::write(&program, JOURNALCTL).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        let mut log = Self {
            dir,
            records: Vec::new(),
            start: hour() + offset,
            step,
            set_back,
        };
        log.add_chain();
        log
    }

    /// A chain of 50 records, from number 1.
    fn add_chain(&mut self) {
        let mut previous = "0".repeat(64);
        for seq in 1..=50 {
            let at = self.records.len() as u64 + 1;
            let time = timestamp(self.ms(at));
            let mut record = Map::new();
            for (name, value) in [
                ("MESSAGE", "a sentence"),
                ("REMIT_EVENT", "start"),
                ("REMIT_TIME", &time),
                ("REMIT_SEQ", &seq.to_string()),
                ("REMIT_PREV", &previous),
            ] {
                record.insert(name.to_owned(), value.into());
            }
            let texts = record
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str().unwrap()));
            previous = hex(&hash(texts));
            record.insert("REMIT_HASH".to_owned(), previous.as_str().into());
            let line = Value::Object(record).to_string();
            self.records.push((seq, line, unhex(&previous).unwrap()));
        }
    }

    fn ms(&self, at: u64) -> u64 {
        let at = if at > self.set_back { at - 10 } else { at };
        self.start + at * self.step
    }

    fn expected(&self, seq: u64, is_right: bool) -> Expected {
        let (_, _, hash) = self.records.iter().find(|one| one.0 == seq).unwrap();
        Expected {
            seq,
            hash: if is_right { *hash } else { [7; 32] },
        }
    }

    /// Returns the journal and the file without the records `removed`.
    fn sources(&self, removed: &RangeInclusive<u64>) -> [RecordSource; 2] {
        let all = || self.records.iter().zip(1..);
        let kept = || all().filter(|((seq, ..), _)| !removed.contains(seq));
        let of_file: String = kept()
            .map(|((_, line, _), _)| format!("{line}\n"))
            .collect();
        let of_journal: String = kept()
            .map(|((_, line, _), at)| format!("{}\t{line}\n", self.ms(at)))
            .collect();
        let file = self.dir.join("file");
        let program = self.dir.join("journalctl");
        fs::write(&file, of_file).unwrap();
        let of_daemon = format!("{}\t{{\"MESSAGE\":\"a line of its log\"}}\n", self.start);
        let of_journal = of_daemon + &of_journal;
        fs::write(self.dir.join("journalctl.records"), of_journal).unwrap();
        let program = Program::find(&[program.to_str().unwrap()]).unwrap();
        [
            RecordSource::Journal(Journal::of_program(program)),
            RecordSource::Files {
                paths: vec![file],
                live: false,
            },
        ]
    }

    /// Verifies the journal and the file since that time, without the records `removed`.
    fn verifications(
        &self,
        since_ms: u64,
        removed: &RangeInclusive<u64>,
        expect: &[Expected],
    ) -> [Verification; 2] {
        let context = Context {
            runtime: Runtime::new(Path::new("/nonexistent")),
            form: Form::Text,
            width: units::Width::UNLIMITED,
        };
        self.sources(removed).map(|source| {
            let of = Of {
                source: &source,
                state: Path::new("/nonexistent"),
                span: Span {
                    since: Some(since_ms),
                    until: None,
                },
                expect,
            };
            Verification::new::<()>(&context, &of).unwrap().0
        })
    }

    /// Verifies since record `since`, without the records `removed`. Returns findings and notes, which do not depend on the source.
    fn verify(
        &self,
        since: u64,
        removed: RangeInclusive<u64>,
        expect: &[Expected],
    ) -> (Vec<(Kind, u64, u64)>, Vec<String>) {
        let verifications = self.verifications(self.ms(since), &removed, expect);
        let is_journal = [true, false];
        let found = verifications
            .iter()
            .zip(is_journal)
            .map(|(verification, is_journal)| {
                let report = verification.report();
                assert_eq!(verification.is_whole(), report.findings.is_empty());
                let findings = report.findings.iter();
                let findings: Vec<_> = findings.map(|one| (one.kind, one.seq, one.last)).collect();
                let notes: Vec<_> = report.notes.iter().map(|note| note.text.clone()).collect();
                if is_journal {
                    let has_cause = verification.causes.iter().any(Option::is_some);
                    let is_gap = findings.iter().any(|(_, first, last)| first < last);
                    assert_eq!(has_cause, is_gap, "{findings:?}");
                }
                (findings, notes)
            });
        let found: Vec<_> = found.collect();
        assert_eq!(found[0], found[1]);
        found[0].clone()
    }
}

/// Times of records: one a second, on the second, and ten in each.
const STEPS: [(u64, u64); 3] = [(1000, 500), (1000, 0), (100, 0)];
const NONE: RangeInclusive<u64> = 99..=99;

#[test]
fn time_must_follow_record_before_it() {
    for (step, offset) in STEPS {
        let log = TestLog::new(step, offset);
        assert_eq!(log.verify(30, NONE, &[]), (vec![], vec![]));
        assert_eq!(log.verify(60, NONE, &[]), (vec![], vec![]), "idle");
        for removed in [20..=33, 29..=30, 30..=31, 2..=40] {
            let (first, last) = removed.clone().into_inner();
            for found in log.verifications(log.ms(30), &removed, &[]) {
                assert_eq!(found.report.range, Some((last + 1, 50)));
            }
            let found = log.verify(30, removed, &[]);
            assert_eq!(found, (vec![(Kind::Gap, first, last)], vec![]));
        }
    }
}

#[test]
fn clock_that_was_set_back_hides_no_record() {
    // Records 21 to 30 have the times of 11 to 20.
    let log = TestLog::set_back(1000, 0, 20);
    let since = log.ms(15);
    for found in log.verifications(since, &NONE, &[]) {
        assert!(found.is_whole(), "{}", found.verdict());
        assert_eq!(found.report.range, Some((15, 50)));
    }
    let mut filter = Filter::default();
    filter.span.since = Some(since);
    for source in log.sources(&NONE) {
        let (newest, more) = source.newest(&filter, 50).unwrap();
        let numbers: Vec<u64> = newest.iter().filter_map(AuditRecord::seq).collect();
        let expect: Vec<u64> = (15..=20).chain(25..=50).collect();
        assert_eq!((numbers, more), (expect, false));
    }
}

#[test]
fn log_that_begins_in_the_time_is_whole() {
    for (step, offset) in STEPS {
        let log = TestLog::new(step, offset);
        assert_eq!(log.verify(0, NONE, &[]), (vec![], vec![]));
        for (removed, first) in [(1..=33, 34), (1..=29, 30)] {
            let (findings, notes) = log.verify(30, removed, &[]);
            assert_eq!(findings, []);
            assert_eq!(notes.len(), 1);
            assert!(notes[0].starts_with(&format!("the log begins with record {first}:")));
        }
    }
}

#[test]
fn expected_record_before_the_time_is_compared() {
    for (step, offset) in STEPS {
        let log = TestLog::new(step, offset);
        for seq in [1, 10, 29, 30, 40] {
            let right = log.expected(seq, true);
            assert_eq!(log.verify(30, NONE, &[right]), (vec![], vec![]));
            let other = log.expected(seq, false);
            let fork = vec![(Kind::Fork, seq, seq)];
            assert_eq!(log.verify(30, NONE, &[right, other]), (fork, vec![]));
        }
        let (right, other) = (log.expected(10, true), log.expected(29, false));
        let gap = vec![(Kind::Gap, 10, 10)];
        assert_eq!(log.verify(30, 10..=10, &[right]), (gap, vec![]));
        let (findings, notes) = log.verify(30, 1..=29, &[right, other]);
        assert_eq!(findings, [(Kind::Fork, 29, 29)], "record 30 names it");
        let older = "record 10 is expected, but older than the beginning";
        assert_eq!((notes.len(), notes[0].as_str()), (2, older));
        let (findings, notes) = log.verify(30, 1..=29, &[log.expected(29, true)]);
        assert_eq!((findings.len(), notes.len()), (0, 2));
    }
}

#[test]
fn chain_of_a_new_installation_is_verified_alone() {
    let mut log = TestLog::new(100, 0);
    log.add_chain();
    let since = hour() + 51 * 100 + 1;
    let way_out = format!(
        "after a new installation, --since {} verifies the new chain alone",
        timestamp(since)
    );
    // The whole log, and a time that begins between the chains.
    for before in [0, hour() + 5010] {
        for found in log.verifications(before, &NONE, &[]) {
            let causes: Vec<_> = found.causes.iter().flatten().collect();
            assert_eq!(causes, [&way_out]);
            assert!(!found.is_whole(), "{}", found.verdict());
        }
    }
    for found in log.verifications(since, &NONE, &[]) {
        assert!(found.is_whole(), "{}", found.verdict());
        assert_eq!(found.report.range, Some((2, 50)));
    }
}

#[test]
fn first_line_names_the_beginning_and_what_was_not_compared() {
    let log = TestLog::new(1000, 0);
    let earlier = |first: u64| format!("the audit log is whole from record {first} on");
    let older = "older than the beginning";
    for (removed, expect, line) in [
        (NONE, &[][..], "the audit log is whole".to_owned()),
        (NONE, &[10], "the audit log is whole".to_owned()),
        (
            1..=1,
            &[],
            format!("{}; the one before it is not here", earlier(2)),
        ),
        (
            1..=29,
            &[],
            format!("{}; 29 earlier ones are not here", earlier(30)),
        ),
        // The first record has its hash.
        (
            1..=29,
            &[29],
            format!("{}; 29 earlier ones are not here", earlier(30)),
        ),
        (
            1..=29,
            &[10],
            format!(
                "{}; 29 earlier ones are not here; expected record 10 was not compared: it is {older}",
                earlier(30)
            ),
        ),
        (
            1..=29,
            &[12, 10, 10, 40],
            format!(
                "{}; 29 earlier ones are not here; 2 expected records up to 12 were not compared: they are {older}",
                earlier(30)
            ),
        ),
    ] {
        let expected: Vec<Expected> = expect.iter().map(|seq| log.expected(*seq, true)).collect();
        for found in log.verifications(0, &removed, &expected) {
            assert_eq!(found.verdict(), line);
            assert_eq!(found.json()["verdict"], line);
            assert!(found.is_whole(), "the notes of remit(1) are no findings");
        }
    }
}

#[test]
fn gap_has_its_times_and_no_cursor() {
    let log = TestLog::new(1000, 0);
    let cursor = r#""__CURSOR":"s=1;i=34","_UID":"0","SYSLOG_IDENTIFIER":"remitd","#;
    let mut with_cursors = TestLog::new(1000, 0);
    for (_, line, _) in &mut with_cursors.records {
        line.insert_str(1, cursor);
    }
    let gap = "records 20 to 33 are missing before record 34, written between 2026-11-20 08:00:19 UTC and \
               2026-11-20 08:00:34 UTC";
    for log in [log, with_cursors] {
        for found in log.verifications(0, &(20..=33), &[]) {
            let line = found.verdict();
            assert!(
                line.starts_with(&format!("the audit log is not whole: {gap}")),
                "{line}"
            );
            let page = found.page();
            assert!(!page.contains("cursor"), "{page}");
            let json = found.json();
            let finding = &json["findings"][0];
            assert_eq!(finding["to_ms"].as_u64(), Some(log.ms(34)), "{json}");
            assert_eq!(finding["from_ms"].as_u64(), Some(log.ms(19)), "{json}");
        }
    }
}
