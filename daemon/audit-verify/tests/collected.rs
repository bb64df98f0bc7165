//! Records of one machine as a collector has them: repeated, continued under a later verification, rewritten.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests may fail"
)]

#[allow(dead_code, reason = "another test uses the rest")]
mod audit_logs;

use std::borrow::Borrow;

use remit_audit_verify::{
    Arrived, Collected, CollectedReport, Entry, Expected, Kind, Past, Remembered, Seen,
};

use audit_logs::{AuditLog, seq};

fn verified(remembered: impl Borrow<Option<Remembered>>, parts: &[&[Entry]]) -> CollectedReport {
    let remembered = remembered.borrow().clone();
    let (mut collected, mut seen) = (Collected::new(remembered, 0), Seen::default());
    for entry in parts.iter().flat_map(|part| part.iter()) {
        collected.take(entry, &mut seen);
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

fn newest(report: &CollectedReport) -> Option<Expected> {
    report.newest.as_ref().map(|newest| newest.record)
}

fn again(entries: &[Entry]) -> Vec<Entry> {
    let mut entries = entries.to_vec();
    for entry in &mut entries {
        entry.position += ", again";
    }
    entries
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
        assert_eq!(newest(&found), Some(log.head()));
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
fn name_that_holds_other_fields_is_found() {
    let log = AuditLog::plain(6);
    for (at, entry) in log.entries.iter().enumerate() {
        for changed in audit_logs::swallowed(entry) {
            let mut entries = log.entries.clone();
            entries[at] = changed;
            for parts in [&[&entries[..]][..], &[&log.entries, &entries[at..=at]]] {
                let found = verified(remembered(&log, 6), parts);
                let found = kinds(&found);
                assert!(!found.is_empty(), "{:?}", entries[at]);
                let is_numbered = found.iter().any(|(_, found)| *found == seq(entry));
                assert!(is_numbered || parts.len() > 1, "{found:?}");
            }
        }
    }
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
    assert_eq!(newest(&found), Some(again.head()));
    let accepted = accepted(again.head(), again.head());
    let more = AuditLog::seeded(30, 3);
    let parts: &[&[Entry]] = &[&log.entries, &more.entries[..11], &again.entries[11..]];
    let found = verified(&accepted, parts);
    assert_eq!((found.past, kinds(&found)), (Past::Kept, vec![]));
    assert_eq!((found.accepted, found.report.records), (31, 1));
    assert_eq!(found.report.notes, []);
    // What was accepted may come again; what was not is found.
    let found = verified(
        &accepted,
        &[parts, &[&log.entries, &again.entries]].concat(),
    );
    assert_eq!((kinds(&found), found.repeated), (vec![], 32));
    let third = AuditLog::seeded(12, 4);
    let found = verified(&accepted, &[parts, &[&third.entries]].concat());
    assert!(!found.report.findings.is_empty());
    // The accepted record is gone, and what follows it is not the same.
    let found = verified(&accepted, &[&third.entries]);
    assert_eq!((found.past, found.accepted), (Past::Rewritten, 0));
}

fn accepted(newest: Expected, record: Expected) -> Option<Remembered> {
    let position = format!("record {}", record.seq);
    Some(Remembered {
        newest,
        accepted: Some(Arrived { record, position }),
    })
}

/// A log without record 5, which a person accepted up to record 10, and which was verified up to record 30.
fn with_accepted_gap() -> (Vec<Entry>, Option<Remembered>, AuditLog) {
    let log = AuditLog::plain(30);
    let all = [&log.entries[..4], &log.entries[5..]].concat();
    let known = accepted(at(&log, 30), at(&log, 10));
    (all, known, log)
}

/// Records `first..=last` that follow another log's record before them.
fn forged(log: &AuditLog, first: usize, last: usize) -> Vec<Entry> {
    let mut prev = log.hash(first - 1);
    let mut entries = log.entries[first - 1..last].to_vec();
    for entry in &mut entries {
        audit_logs::set(entry, "REMIT_PREV", &remit_trail::hex(&prev));
        audit_logs::forge(entry, "MESSAGE", "forged");
        let hash = entry.fields.iter().find(|(name, _)| name == "REMIT_HASH");
        prev = remit_trail::unhex(&hash.unwrap().1).unwrap();
    }
    entries
}

#[test]
fn accepted_record_that_comes_again_hides_nothing() {
    let (all, known, log) = with_accepted_gap();
    let ten = &again(&log.entries[9..10])[..];
    let other = forged(&log, 11, 30);
    let found = verified(&known, &[&all]);
    assert_eq!((found.past, kinds(&found)), (Past::Kept, vec![]));
    assert_eq!((found.accepted, found.report.records), (8, 21));
    // What was accepted is gone from the collector, and the host sends it again, with another past after it.
    let found = verified(&known, &[&log.entries[20..], ten, &other]);
    assert_eq!(
        (found.past, kinds(&found)[0]),
        (Past::Rewritten, (Kind::Fork, 10))
    );
    let found = verified(&known, &[ten, &other]);
    assert_eq!((found.past, kinds(&found)), (Past::Rewritten, vec![]));
    let found = verified(&known, &[ten, &other[..15]]);
    assert_eq!(found.past, Past::Ends { last: 25 });
    // Skipping the number that is remembered does not help.
    let mut skips = other.clone();
    skips.remove(19);
    let found = verified(&known, &[ten, &skips]);
    assert_eq!(found.past, Past::Ends { last: 29 });
    // It starts once.
    let found = verified(&known, &[&all, ten, &other, ten]);
    assert_eq!(
        (found.past, kinds(&found).is_empty()),
        (Past::Rewritten, false)
    );
}

/// Records 31 to 40 came, the collector removed those before 32, and the host sends 10 to 30 again before forged ones.
#[test]
fn accepted_record_that_comes_again_hides_no_rewrite_of_newer_ones() {
    let log = AuditLog::plain(45);
    let forged = forged(&log, 31, 45);
    for known in [accepted(at(&log, 30), at(&log, 10)), remembered(&log, 30)] {
        for first in [0, 8, 9] {
            let sent_again = again(&log.entries[first..30]);
            let found = verified(&known, &[&log.entries[31..40], &sent_again, &forged]);
            assert!(kinds(&found).contains(&(Kind::Fork, 32)), "{found:?}");
            assert_eq!(found.accepted, 0);
        }
    }
}

/// What was accepted is judged again if it comes again: nothing says that it is all that came before the record.
#[test]
fn accepted_gap_that_comes_again_is_found_again() {
    let (all, known, log) = with_accepted_gap();
    let sent_again = again(&all);
    for known in [&known, &remembered(&log, 30)] {
        let found = verified(known, &[&log.entries[20..], &sent_again]);
        assert_eq!(
            (found.past, kinds(&found), newest(&found)),
            (Past::Kept, vec![(Kind::Gap, 5)], Some(log.head())),
            "{found:?}"
        );
    }
    // Not as long as the collector has the accepted record.
    let found = verified(&known, &[&all, &sent_again]);
    assert_eq!((found.past, kinds(&found)), (Past::Kept, vec![]));
}

#[test]
fn late_record_does_not_move_the_memory_back() {
    let log = AuditLog::plain(40);
    let found = verified(
        remembered(&log, 40),
        &[&log.entries[19..], &log.entries[18..19]],
    );
    assert_eq!((found.past, kinds(&found)), (Past::Kept, vec![]));
    assert_eq!(newest(&found), Some(log.head()));
    // A chain that starts again is later, although its numbers are lower: accepted, it is judged from there on.
    let again = AuditLog::seeded(9, 3);
    let parts: &[&[Entry]] = &[&log.entries[19..], &again.entries[..5]];
    let found = verified(remembered(&log, 40), parts);
    assert_eq!(
        (kinds(&found), newest(&found)),
        (vec![(Kind::Fork, 1)], Some(at(&again, 5)))
    );
    let known = accepted(at(&again, 5), at(&again, 5));
    let found = verified(&known, &[parts, &[&again.entries[5..]]].concat());
    assert_eq!((found.past, kinds(&found)), (Past::Kept, vec![]));
    assert_eq!(newest(&found), Some(again.head()));
}

#[test]
fn form_of_an_older_remit_does_not_hide_other_content() {
    let log = AuditLog::plain(20);
    let mut forged = log.entries.clone();
    for entry in &mut forged {
        entry
            .fields
            .retain(|(name, _)| !matches!(name.as_str(), "REMIT_TIME" | "REMIT_BOOT"));
        audit_logs::set(entry, "MESSAGE", "forged");
    }
    for known in [None, remembered(&log, 20)] {
        let found = verified(&known, &[&forged]);
        assert_eq!(found.report.findings.len(), 20, "{found:?}");
        assert!(
            kinds(&found).iter().all(|(kind, _)| *kind == Kind::Edit),
            "{found:?}"
        );
        assert_ne!(found.past, Past::Kept);
    }
    // Not as a repetition either.
    let found = verified(None, &[&log.entries, &forged[4..5]]);
    assert_eq!(found.repeated, 0);
    assert!(!found.report.findings.is_empty());
}

#[test]
fn beginning_with_a_doubt_admits_no_other_past() {
    let log = AuditLog::plain(30);
    let other = AuditLog::seeded(30, 7);
    let doubts = |doubt: &str| {
        let mut entry = AuditLog::plain(31).entries.remove(30);
        audit_logs::set(&mut entry, "REMIT_DOUBT", doubt);
        audit_logs::forge(&mut entry, "MESSAGE", "a new start");
        [entry]
    };
    let begin = doubts("30");
    let known = remembered(&log, 30);
    let found = verified(&known, &[&begin, &log.entries]);
    assert_eq!((found.past, kinds(&found)), (Past::Kept, vec![]));
    let found = verified(&known, &[&begin, &other.entries]);
    assert_eq!(
        (found.past, kinds(&found)),
        (Past::Rewritten, vec![(Kind::Fork, 1)])
    );
    let found = verified(None, &[&begin, &other.entries[..20]]);
    assert_eq!(kinds(&found), [(Kind::Fork, 1)]);
    // The one that it doubts was never written: nothing says which one is before it.
    let found = verified(None, &[&begin, &log.entries[..29]]);
    assert_eq!(kinds(&found), []);
    let notes = &found.report.notes;
    assert!(
        notes.iter().any(|note| note.text.contains("is not proven")),
        "{notes:?}"
    );
}

#[test]
fn first_record_may_doubt_or_skip_what_followed_the_remembered_one() {
    let log = AuditLog::plain(20);
    let known = remembered(&log, 20);
    for (seq, fields, is_kept) in [
        (22, &[("REMIT_DOUBT", "21")][..], true),
        (24, &[("REMIT_DOUBT", "21-23")], true),
        (23, &[("REMIT_DOUBT", "22")], false),
        (65554, &[("REMIT_AFTER", "18")], true),
        (
            65561,
            &[("REMIT_AFTER", "25"), ("REMIT_SYNCED", "20")],
            true,
        ),
        (
            65561,
            &[("REMIT_AFTER", "25"), ("REMIT_SYNCED", "21")],
            false,
        ),
        // It names the remembered record, and has another hash of it.
        (21, &[], false),
        (65556, &[("REMIT_AFTER", "20")], false),
        (21, &[("REMIT_DOUBT", "20")], false),
    ] {
        let mut entry = log.entries[0].clone();
        audit_logs::set(&mut entry, "REMIT_SEQ", &seq.to_string());
        for (name, value) in fields {
            audit_logs::set(&mut entry, name, value);
        }
        audit_logs::forge(&mut entry, "REMIT_PREV", &"07".repeat(32));
        let first = &[entry][..];
        let past = match is_kept {
            true => Past::Kept,
            false => Past::Begins { first: seq },
        };
        let has_note = |found: &CollectedReport| {
            let mut notes = found.report.notes.iter();
            notes.any(|note| note.text.contains("that it follows that one is not proven"))
        };
        let found = verified(&known, &[first]);
        assert_eq!(
            (found.past, has_note(&found)),
            (past, is_kept),
            "{seq}: {fields:?}"
        );
        // Not after another record, also one that came late.
        for order in [[&log.entries[..19], first], [first, &log.entries[..19]]] {
            let found = verified(&known, &order);
            assert_eq!(
                (found.past, has_note(&found)),
                (Past::Missing, false),
                "{seq}: {fields:?}"
            );
        }
        let other = AuditLog::seeded(20, 7);
        let found = verified(&known, &[first, &other.entries]);
        assert_eq!(found.past, Past::Rewritten, "{seq}: {fields:?}");
    }
}

#[test]
fn record_that_only_says_to_follow_the_remembered_one_keeps_nothing() {
    let log = AuditLog::plain(20);
    let (_, known, _) = with_accepted_gap();
    let known = known.map(|known| Remembered {
        newest: at(&log, 20),
        ..known
    });
    let after = |seq: u64, after: u64, prev: [u8; 32]| {
        let mut entry = log.entries[0].clone();
        for (name, value) in [
            ("REMIT_SEQ", seq.to_string()),
            ("REMIT_AFTER", after.to_string()),
            ("REMIT_PREV", remit_trail::hex(&prev)),
        ] {
            audit_logs::set(&mut entry, name, &value);
        }
        audit_logs::forge(&mut entry, "MESSAGE", "forged");
        entry
    };
    let false_21 = after(21, 10, log.hash(10));
    let false_22 = after(22, 20, log.hash(20));
    let found = verified(&known, &[&log.entries[9..10], &[false_21, false_22]]);
    assert_eq!(found.past, Past::Missing, "{found:?}");
}

#[test]
fn fork_is_reported_before_gaps() {
    let log = AuditLog::plain(400);
    let odd: Vec<Entry> = log.entries.iter().step_by(2).cloned().collect();
    let other = AuditLog::seeded(400, 7);
    let found = verified(None, &[&odd, &other.entries[396..397]]);
    assert_eq!(found.report.findings.len(), 20);
    assert_eq!(kinds(&found).last(), Some(&(Kind::Fork, 397)));
    assert_eq!(found.report.more_findings, 180);
}

#[test]
fn records_of_two_machines_are_no_repetitions_of_each_other() {
    let log = AuditLog::plain(5);
    let mut seen = Seen::default();
    let mut machines = [Collected::new(None, 0), Collected::new(None, 1)];
    for machine in &mut machines {
        let new = log
            .entries
            .iter()
            .filter(|entry| machine.take(entry, &mut seen));
        assert_eq!(new.count(), 5);
    }
}
