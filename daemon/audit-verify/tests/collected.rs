//! Records of one machine as a collector has them: repeated, continued under a later verification, rewritten.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests may fail"
)]

#[allow(dead_code, reason = "another test uses the rest")]
mod audit_logs;

use remit_audit_verify::{Collected, CollectedReport, Entry, Expected, Kind, Past, Remembered};

use audit_logs::{AuditLog, seq};

fn verified(remembered: Option<Remembered>, parts: &[&[Entry]]) -> CollectedReport {
    let mut collected = Collected::new(remembered);
    for entry in parts.iter().flat_map(|part| part.iter()) {
        collected.take(entry);
    }
    collected.finish()
}

fn at(log: &AuditLog, number: usize) -> Expected {
    Expected {
        seq: seq(&log.entries[number - 1]),
        hash: log.hash(number),
    }
}

fn remembered(log: &AuditLog, number: usize) -> Option<Remembered> {
    Some(Remembered {
        newest: at(log, number),
        accepted: None,
    })
}

fn kinds(report: &CollectedReport) -> Vec<(Kind, u64)> {
    let findings = report.report.findings.iter();
    findings.map(|f| (f.kind, f.seq)).collect()
}

#[test]
fn repeated_records_are_counted() {
    let log = AuditLog::plain(40);
    let all = &log.entries[..];
    for (parts, repeated) in [
        (&[all][..], 0),
        (&[all, all], 40),
        (&[&all[..30], &all[10..]], 20),
        (&[&all[..30], &all[..30], &all[5..]], 55),
        (&[all, &all[3..4]], 1),
    ] {
        let found = verified(None, parts);
        assert_eq!(kinds(&found), []);
        assert_eq!((found.repeated, found.report.records), (repeated, 40));
        assert_eq!(found.newest, Some(log.head()));
        assert_eq!(found.past, Past::Unknown);
    }
}

#[test]
fn beginning_may_come_late_if_it_is_the_true_one() {
    let log = AuditLog::plain(40);
    let all = &log.entries[..];
    for (parts, first, repeated) in [
        (&[&all[15..], all][..], 1, 25),
        (&[&all[15..30], all], 1, 15),
        (&[&all[15..30], &all[5..]], 6, 15),
        (&[&all[15..], &all[..15]], 1, 0),
    ] {
        let found = verified(None, parts);
        assert_eq!(kinds(&found), [], "{found:?}");
        assert_eq!(
            (found.report.range, found.repeated),
            (Some((first, 40)), repeated)
        );
        let begins = found
            .report
            .notes
            .iter()
            .any(|note| note.text.contains("begins with"));
        assert_eq!(begins, first > 1, "{found:?}");
        assert_eq!(verified(remembered(&log, 20), parts).past, Past::Kept);
    }
    let forged = AuditLog::seeded(40, 7);
    let found = verified(None, &[&all[15..], &forged.entries[..15]]);
    assert_eq!(kinds(&found), [(Kind::Fork, 1)]);
    let found = verified(None, &[&all[15..], &forged.entries]);
    assert_eq!(kinds(&found)[..2], [(Kind::Fork, 1), (Kind::Fork, 16)]);
    let found = verified(None, &[&all[15..], &all[..9], &all[10..]]);
    assert_eq!(kinds(&found), [(Kind::Gap, 10)]);
    let found = verified(None, &[&all[15..], &all[..9]]);
    assert_eq!(kinds(&found), [(Kind::Fork, 1)]);
}

#[test]
fn record_with_other_content_is_no_repetition() {
    let log = AuditLog::plain(10);
    let mut other = log.entries.clone();
    audit_logs::set(&mut other[4], "MESSAGE", "something else");
    let found = verified(None, &[&log.entries, &other[4..5]]);
    assert_eq!((found.repeated, found.report.findings.len()), (0, 1));
    audit_logs::forge(&mut other[4], "MESSAGE", "something else");
    let found = verified(None, &[&log.entries, &other[4..5]]);
    assert_eq!((found.repeated, kinds(&found)), (0, vec![(Kind::Fork, 5)]));
}

#[test]
fn what_was_seen_must_still_be_there() {
    let log = AuditLog::plain(40);
    let forged = AuditLog::seeded(40, 7);
    let all = &log.entries[..];
    for (what, known, parts, past) in [
        ("the same", 40, &[all][..], Past::Kept),
        ("more", 20, &[all], Past::Kept),
        (
            "an old beginning that is gone",
            20,
            &[&all[10..]],
            Past::Kept,
        ),
        ("all that was seen is gone", 20, &[&all[20..]], Past::Kept),
        ("repeated", 20, &[all, all], Past::Kept),
        (
            "records are lost",
            20,
            &[&all[21..]],
            Past::Begins { first: 22 },
        ),
        (
            "the end is gone",
            20,
            &[&all[..19]],
            Past::Ends { last: 19 },
        ),
        ("everything is gone", 20, &[], Past::NoRecords),
        ("the one is gone", 20, &[&all[..19], &all[20..]], Past::Kept),
        (
            "and its neighbors",
            20,
            &[&all[..18], &all[22..]],
            Past::Missing,
        ),
        ("another past", 20, &[&forged.entries], Past::Rewritten),
        (
            "a shorter other past",
            20,
            &[&forged.entries[..9]],
            Past::Ends { last: 9 },
        ),
        (
            "a later other past",
            20,
            &[&forged.entries[20..]],
            Past::Begins { first: 21 },
        ),
    ] {
        let found = verified(remembered(&log, known), parts);
        assert_eq!(found.past, past, "{what}");
    }
    // The gap is a finding of the chain, although a record names the one that is gone.
    let found = verified(remembered(&log, 20), &[&all[..19], &all[20..]]);
    assert_eq!(kinds(&found), [(Kind::Gap, 20)]);
    // A forged past that ends in a real record does not link to it.
    let found = verified(remembered(&log, 20), &[&forged.entries[..19], &all[19..]]);
    assert_eq!((found.past, kinds(&found).len()), (Past::Kept, 1));
}

#[test]
fn chain_that_starts_again_is_found_until_accepted() {
    let log = AuditLog::plain(20);
    let again = AuditLog::seeded(12, 3);
    let parts: &[&[Entry]] = &[&log.entries, &again.entries];
    let found = verified(remembered(&log, 20), parts);
    assert_eq!(
        (found.past, kinds(&found)),
        (Past::Kept, vec![(Kind::Fork, 1)])
    );
    assert_eq!(found.newest, Some(again.head()));
    let accepted = Some(Remembered {
        newest: again.head(),
        accepted: Some(again.head()),
    });
    let more = AuditLog::seeded(30, 3);
    let parts: &[&[Entry]] = &[&log.entries, &more.entries[..11], &again.entries[11..]];
    let found = verified(accepted, parts);
    assert_eq!((found.past, kinds(&found)), (Past::Kept, vec![]));
    assert_eq!((found.accepted, found.report.records), (31, 1));
    assert_eq!(found.report.notes, []);
    // What was accepted may come again; what was not is found.
    let found = verified(accepted, &[parts, &[&log.entries, &again.entries]].concat());
    assert_eq!((kinds(&found), found.repeated), (vec![], 32));
    let third = AuditLog::seeded(12, 4);
    let found = verified(accepted, &[parts, &[&third.entries]].concat());
    assert!(!found.report.findings.is_empty());
    // The accepted record is gone, and what follows it is not the same.
    let found = verified(accepted, &[&third.entries]);
    assert_eq!((found.past, found.accepted), (Past::Rewritten, 0));
}
