#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests may fail"
)]

mod audit_logs;

use std::io::Write;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use remit_audit_verify::{Entry, Expected, Kind, Report, Verifier};
use remit_trail::{hash, hash_fields, hex, unhex};

use audit_logs::{AuditLog, Shape, shapes};

fn verified(entries: &[Entry], expected: Option<Expected>) -> Report {
    let mut verifier = Verifier::default();
    entries.iter().for_each(|entry| verifier.take(entry));
    verifier.finish(expected)
}

fn findings_of(report: &Report) -> Vec<(Kind, u64)> {
    report.findings.iter().map(|f| (f.kind, f.seq)).collect()
}

fn of_ten(change: impl FnOnce(&mut Vec<Entry>)) -> Vec<(Kind, u64)> {
    let log = AuditLog::plain(10);
    let mut entries = log.entries.clone();
    change(&mut entries);
    findings_of(&verified(&entries, Some(log.head())))
}

#[test]
fn one_change_is_one_numbered_finding() {
    use Kind::{Double, Edit, Fork, Gap, Order, Truncated, Unreadable};
    let nothing = |_: &mut Vec<Entry>| {};
    assert_eq!(of_ten(nothing), []);
    for (name, value) in [
        ("MESSAGE", "x"),
        ("REMIT_SEQ", "8"),
        ("REMIT_SEQ", "5000"),
        ("REMIT_NEW", ""),
    ] {
        let edit = |e: &mut Vec<Entry>| audit_logs::set(&mut e[4], name, value);
        assert_eq!(of_ten(edit), [(Edit, 5)], "{name}={value}");
    }
    for name in ["REMIT_PREV", "REMIT_HASH"] {
        let edit = |e: &mut Vec<Entry>| audit_logs::set(&mut e[4], name, &"ab".repeat(32));
        assert_eq!(of_ten(edit), [(Edit, 5)], "{name}");
    }
    for name in ["REMIT_SEQ", "REMIT_PREV", "REMIT_HASH"] {
        let cut = |e: &mut Vec<Entry>| e[4].fields.retain(|(n, _)| n != name);
        assert_eq!(of_ten(cut), [(Unreadable, 5)], "{name}");
        let odd = |e: &mut Vec<Entry>| audit_logs::set(&mut e[4], name, "+5");
        assert_eq!(of_ten(odd), [(Unreadable, 5)], "{name}");
    }
    let twice = |e: &mut Vec<Entry>| {
        let field = e[4].fields[0].clone();
        e[4].fields.push(field);
    };
    assert_eq!(of_ten(twice), [(Edit, 5)]);
    // The hash was recomputed, so only the next record shows the change.
    let forged = |e: &mut Vec<Entry>| audit_logs::forge(&mut e[4], "MESSAGE", "x");
    assert_eq!(of_ten(forged), [(Edit, 5)]);
    assert_eq!(of_ten(|e| e[4].fields.clear()), [(Unreadable, 5)]);
    assert_eq!(
        of_ten(|e| e.insert(4, Entry::default())).first(),
        Some(&(Unreadable, 5))
    );
    assert_eq!(of_ten(|e| drop(e.remove(4))), [(Gap, 5)]);
    assert_eq!(of_ten(|e| drop(e.drain(3..6))), [(Gap, 4)]);
    assert_eq!(of_ten(|e| e.truncate(7)), [(Truncated, 8)]);
    assert_eq!(of_ten(Vec::clear), [(Truncated, 1)]);
    assert_eq!(of_ten(|e| e.insert(9, e[2].clone())), [(Double, 3)]);
    assert_eq!(of_ten(|e| e.swap(4, 5)), [(Order, 6)]);
    assert_eq!(of_ten(|e| e.swap(0, 1)), [(Order, 2)]);
    assert_eq!(of_ten(|e| e.swap(8, 9)), [(Order, 10)]);
    assert_eq!(
        of_ten(|e| e[2..8].rotate_left(1)),
        [(Order, 3)],
        "3 is after 8"
    );
    assert_eq!(
        of_ten(|e| e[2..8].rotate_right(1)),
        [(Order, 8)],
        "8 is before 3"
    );
    let restarted = |e: &mut Vec<Entry>| e.extend(AuditLog::seeded(10, 7).entries);
    assert_eq!(
        of_ten(restarted),
        [(Fork, 1), (Fork, 10)],
        "the head is not of it"
    );
    let inserted = |e: &mut Vec<Entry>| {
        let mut other = e[4].clone();
        audit_logs::forge(&mut other, "MESSAGE", "x");
        e.insert(6, other);
    };
    assert_eq!(of_ten(inserted), [(Fork, 5)]);
    let several = |e: &mut Vec<Entry>| {
        audit_logs::set(&mut e[1], "MESSAGE", "x");
        e.swap(6, 7);
        e.remove(4);
    };
    assert_eq!(of_ten(several), [(Edit, 2), (Gap, 5), (Order, 8)]);
}

#[test]
fn records_that_were_lost_without_a_number_are_a_note() {
    for (lost, has_note) in [("3", true), ("0", false), ("x", false)] {
        let mut entries = AuditLog::plain(5).entries;
        entries.truncate(3);
        audit_logs::forge(&mut entries[2], "REMIT_LOST", lost);
        let report = verified(&entries, None);
        assert_eq!(findings_of(&report), []);
        let notes: Vec<_> = report.notes.iter().map(|note| note.seq).collect();
        let expect = if has_note { vec![3] } else { vec![] };
        assert_eq!(notes, expect, "{:?}", report.notes);
    }
}

#[test]
fn missing_beginning_is_a_note() {
    let log = AuditLog::plain(10);
    let report = verified(&log.entries[4..], Some(log.head()));
    assert_eq!(
        (findings_of(&report), report.range),
        (vec![], Some((5, 10)))
    );
    assert_eq!(report.notes.len(), 1);
    assert_eq!(report.last_hash, Some(log.head().hash));
}

#[test]
fn expected_record_is_present_or_before_beginning() {
    let log = AuditLog::plain(10);
    let hash = |seq: usize| log.hash(seq);
    for (from, seq, is, expected) in [
        (0, 4, hash(4), None),
        (0, 10, hash(10), None),
        (0, 4, hash(5), Some((Kind::Fork, 4))),
        (0, 11, hash(5), Some((Kind::Truncated, 11))),
        (5, 4, hash(5), None),
        (0, 0, [0; 32], None),
    ] {
        let is = Expected { seq, hash: is };
        let mut verifier = Verifier::default();
        verifier.expect(is);
        log.entries[from..].iter().for_each(|e| verifier.take(e));
        let found = findings_of(&verifier.finish(None));
        assert_eq!(found.first().copied(), expected, "{seq}");
        assert_eq!(
            findings_of(&verified(&log.entries[from..], Some(is))),
            found,
            "{seq}"
        );
    }
}

/// No field excuses a record from its hash, also not the lack of one.
#[test]
fn record_without_some_of_its_fields_is_an_edit() {
    let log = AuditLog::plain(6);
    let expect = log.head();
    let mut entries = log.entries.clone();
    for entry in &mut entries {
        let fields = &mut entry.fields;
        fields.retain(|(name, _)| name != "REMIT_TIME" && name != "REMIT_BOOT");
        audit_logs::set(entry, "MESSAGE", "something else");
    }
    let mut verifier = Verifier::default();
    verifier.expect(expect);
    entries.iter().for_each(|entry| verifier.take(entry));
    let found = findings_of(&verifier.finish(None));
    assert!(
        (1..=6).all(|seq| found.contains(&(Kind::Edit, seq))),
        "{found:?}"
    );
}

#[test]
fn many_findings_are_counted() {
    let log = AuditLog::plain(2000);
    let mut entries = log.entries.clone();
    entries
        .iter_mut()
        .step_by(2)
        .for_each(|e| audit_logs::set(e, "MESSAGE", "x"));
    let report = verified(&entries, None);
    assert_eq!(report.findings.len(), Verifier::FINDINGS);
    assert_eq!(report.findings.len() as u64 + report.more_findings, 1000);
    let only_noise = vec![Entry::default(); 1000];
    assert_eq!(
        findings_of(&verified(&only_noise, None))[0],
        (Kind::Unreadable, 1)
    );
}

#[test]
fn the_hash_is_the_documented_one() {
    let fields = [("REMIT_SEQ", "1"), ("MESSAGE", "a\u{e9}")];
    // printf 'remit audit record 1\nMESSAGE 3\na\303\251\nREMIT_SEQ 1\n1\n' | sha256sum
    let known = "144745d6908a3d71d4de42450853bf79b85ed3718f712f4ebcf8342d4c819986";
    assert_eq!(hex(&hash(fields)), known);
    assert_eq!(unhex(known), Some(hash(fields)));
    let long = "x".repeat(12_345);
    let fields = [
        ("MESSAGE", "m"),
        ("MESSAGE_ID", "i"),
        ("PRIORITY", ""),
        ("REMIT_B", "b"),
        ("REMIT_A", &long),
    ];
    let bare = [("B", "b"), ("A", &long)];
    assert_eq!(
        hash_fields("m", "i", "", bare, &mut Vec::new()),
        hash(fields)
    );
    assert_eq!(unhex(known.to_uppercase()), None);
}

#[test]
fn unreachable_number_is_no_number() {
    for number in [u64::MAX, u64::MAX - 1, 1 << 63] {
        let huge =
            |e: &mut Vec<Entry>| audit_logs::forge(&mut e[4], "REMIT_SEQ", &number.to_string());
        assert_eq!(of_ten(huge), [(Kind::Unreadable, 5)]);
    }
}

/// The hash is the same, and `--expect` fits.
#[test]
fn name_that_holds_other_fields_is_found() {
    let down = Shape::Down {
        behind: 3,
        kept: 1,
        synced: true,
    };
    let killed = Shape::Doubted { written: true };
    let log = AuditLog::of(&[Shape::Written, killed, Shape::Written, down]);
    let mut count = 0;
    for (at, entry) in log.entries.iter().enumerate() {
        for changed in audit_logs::swallowed(entry) {
            count += 1;
            let hashed = changed
                .fields
                .iter()
                .filter(|(name, _)| name != "REMIT_HASH");
            let same = hash(hashed.map(|(name, value)| (name.as_str(), value.as_str())));
            assert_eq!(same, log.hash(at + 1), "{changed:?}");
            let mut entries = log.entries.clone();
            entries[at] = changed;
            let found = findings_of(&verified(&entries, Some(log.head())));
            let seq = audit_logs::seq(entry);
            assert!(
                found.iter().any(|(_, found)| *found == seq),
                "{:?}: {found:?}",
                entries[at]
            );
            if seq == 3 {
                assert_eq!(
                    status_of_printed_program(&entries),
                    Some(1),
                    "{:?}",
                    entries[at]
                );
            }
        }
    }
    assert!(count > 50, "{count}");
    let mut twice = log.entries.clone();
    let first = (twice[1].fields[0].0.clone(), "other".to_owned());
    twice[1].fields.insert(0, first);
    assert_eq!(status_of_printed_program(&twice), Some(1));
    for name in [
        "REMIT_",
        "REMIT_a",
        "REMIT_\u{c9}",
        "REMIT_A ",
        &format!("REMIT_{}", "A".repeat(59)),
    ] {
        let more = |e: &mut Vec<Entry>| audit_logs::set(&mut e[4], name, "x");
        assert_eq!(of_ten(more), [(Kind::Edit, 5)], "{name}");
    }
}

/// A hole of almost 2^63 numbers is not walked number by number.
#[test]
fn forged_number_far_above_ends() {
    let highest = (1_u64 << 63) - 1;
    let forged = |e: &mut Vec<Entry>| {
        let mut above = e[5].clone();
        audit_logs::set(&mut above, "REMIT_AFTER", &(highest - 1).to_string());
        audit_logs::forge(&mut above, "REMIT_SEQ", &highest.to_string());
        e.insert(5, above);
    };
    assert_eq!(of_ten(forged), [(Kind::Order, highest)]);
}

#[test]
fn changed_record_beside_gap_keeps_number() {
    let down = Shape::Down {
        behind: 2,
        kept: 2,
        synced: false,
    };
    let killed = Shape::Doubted { written: false };
    let log = AuditLog::of(&[Shape::Written, down, Shape::Written, killed]);
    let mut entries = log.entries.clone();
    audit_logs::set(&mut entries[3], "REMIT_SEQ", "3");
    let found = findings_of(&verified(&entries, Some(log.head())));
    assert_eq!(found[0], (Kind::Edit, 102));

    let log = AuditLog::of(&[Shape::Written, killed]);
    let mut entries = log.entries.clone();
    entries[1].fields.retain(|(name, _)| name != "REMIT_HASH");
    let found = findings_of(&verified(&entries, Some(log.head())));
    assert_eq!(found, [(Kind::Unreadable, 3)]);
}

/// Returns the exit status of the program that remit-audit(7) prints for readers without remit.
fn status_of_printed_program(entries: &[Entry]) -> Option<i32> {
    let lines: Vec<String> = entries.iter().map(json).collect();
    printed_program(&lines).0
}

fn json(entry: &Entry) -> String {
    let fields = entry.fields.iter();
    let fields: Vec<String> = fields
        .map(|(name, value)| format!("\"{}\":\"{value}\"", name.replace('\n', "\\n")))
        .collect();
    format!("{{{}}}\n", fields.join(","))
}

/// Runs that program over these lines. Returns its exit status and what it prints.
fn printed_program(lines: &[String]) -> (Option<i32>, String) {
    let page = include_str!("../../../packaging/man/remit-audit.7");
    let (_, program) = page.split_once(".\\\" verify\n.EX\n").unwrap();
    let (program, _) = program.split_once(".EE").unwrap();
    let program = program.replace("\\-", "-").replace("\\e", "\\");
    let mut child = Command::new("python3")
        .args(["-c", &program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(lines.concat().as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
    )
}

#[test]
fn printed_program_takes_what_journalctl_prints_for_odd_fields() {
    let mut log = AuditLog::plain(3);
    audit_logs::forge(&mut log.entries[2], "MESSAGE", "a\u{ffff}");
    let newest = format!("the newest is 3:{}\n", hex(&log.head().hash));
    let lines: Vec<String> = log.entries.iter().map(json).collect();
    let written = "\"MESSAGE\":\"a\u{ffff}\"";
    let twice =
        "line 3: a field is there twice, or has a name or a value that the daemon never writes\n";
    let other = "line 3: record 3 is not as it was written\n";
    for (printed, finding) in [
        (written, ""),
        ("\"MESSAGE\":[97,239,191,191]", ""),
        ("\"MESSAGE\":[97,239,191,190]", other),
        ("\"MESSAGE\":[97,255]", other),
        ("\"MESSAGE\":[\"a\",\"b\"]", twice),
        ("\"MESSAGE\":[[97,239,191,191],[98]]", twice),
        ("\"MESSAGE\":[\"a\",[97,239,191,191]]", twice),
        ("\"MESSAGE\":null", twice),
    ] {
        let mut lines = lines.clone();
        lines[2] = lines[2].replace(written, printed);
        assert!(lines[2].contains(printed), "{}", lines[2]);
        let (status, said) = printed_program(&lines);
        let is_found = !finding.is_empty();
        assert_eq!(status, Some(i32::from(is_found)), "{printed}: {said}");
        // A record with such a field is not counted.
        assert!(said.starts_with(finding), "{printed}: {said}");
        let end = if finding == twice {
            "the newest is 2:"
        } else {
            &newest
        };
        assert!(said.contains(end), "{printed}: {said}");
    }
}

#[test]
fn printed_program_finds_a_record_that_was_removed() {
    let down = |kept, synced| Shape::Down {
        behind: 3,
        kept,
        synced,
    };
    for crash in [down(0, true), down(1, true), down(0, false)] {
        let shapes = [Shape::Written, Shape::Written, Shape::Written, crash];
        let log = AuditLog::of(&[&shapes[..], &[Shape::Written]].concat());
        assert_eq!(
            status_of_printed_program(&log.entries),
            Some(0),
            "{crash:?}"
        );
        // The program does not know the newest record, and a log may begin late.
        for at in 1..log.entries.len() - 1 {
            let mut entries = log.entries.clone();
            entries.remove(at);
            let is_found = !verified(&entries, None).findings.is_empty();
            let status = status_of_printed_program(&entries);
            assert_eq!(status, Some(i32::from(is_found)), "{crash:?} {at}");
        }
    }
}

fn odd() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0_u64..9, 1 => u64::MAX - 3..=u64::MAX, 1 => (1 << 63) - 2..=(1_u64 << 63) + 1]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whole_logs_have_no_findings(shapes in shapes(), from in 0_usize..60) {
        let log = AuditLog::of(&shapes);
        let from = from.min(log.entries.len().saturating_sub(1));
        let report = verified(&log.entries[from..], Some(log.head()));
        prop_assert_eq!(findings_of(&report), vec![], "{:?} {:?}", report.findings, shapes);
    }

    #[test]
    fn a_byte_that_was_flipped_is_found(shapes in shapes(), at: prop::sample::Index, field: prop::sample::Index, in_name: bool, byte: prop::sample::Index, bit in 0_u8..7) {
        let log = AuditLog::of(&shapes);
        let mut entries = log.entries.clone();
        let at = at.index(entries.len());
        let seq = audit_logs::seq(&entries[at]);
        let (name, value) = field.get(&entries[at].fields).clone();
        let flipped = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            if bytes.is_empty() { return None; }
            let at = byte.index(bytes.len());
            bytes[at] ^= 1 << bit;
            String::from_utf8(bytes).ok()
        };
        let index = entries[at].fields.iter().position(|(n, _)| *n == name).unwrap();
        let is_own_number = name == "REMIT_SEQ" && !in_name;
        let new = if in_name { flipped(&name).map(|n| (n, value)) } else { flipped(&value).map(|v| (name, v)) };
        prop_assume!(new.is_some());
        entries[at].fields[index] = new.unwrap();
        let report = verified(&entries, Some(log.head()));
        let found = findings_of(&report);
        // An unreadable `REMIT_AFTER` also exposes the numbers that it excused.
        prop_assert!(!found.is_empty());
        // After skipped numbers an unreadable record gets its position's, and a changed number that fits is believed.
        let is_lost = audit_logs::is_after_jump(&log.entries[at])
            && (found[0].0 == Kind::Unreadable || is_own_number);
        let is_right = |f: &(Kind, u64)| matches!(f.0, Kind::Edit | Kind::Unreadable) && f.1 == seq;
        prop_assert!(is_right(&found[0]) || is_lost, "{seq}: {:?}\n{:?}", report.findings, shapes);
        if log.is_plain() { prop_assert_eq!(found.len(), 1, "{:?}", report.findings); }
    }

    #[test]
    fn a_record_that_was_removed_is_found(shapes in shapes(), at: prop::sample::Index) {
        let log = AuditLog::of(&shapes);
        let at = at.index(log.entries.len());
        let seq = audit_logs::seq(&log.entries[at]);
        let mut entries = log.entries.clone();
        entries.remove(at);
        let report = verified(&entries, Some(log.head()));
        let found = findings_of(&report);
        let first = at == 0 && !entries.is_empty();
        if first || log.is_excused(at) {
            prop_assert_eq!(found, vec![], "{:?}", report.findings);
        } else if at == entries.len() {
            prop_assert_eq!(found.len(), 1);
            prop_assert_eq!(found[0].0, Kind::Truncated);
            prop_assert!(report.findings[0].last == seq && found[0].1 <= seq);
        } else {
            let covers = report.findings.iter().any(|f| f.kind == Kind::Gap && (f.seq..=f.last).contains(&seq));
            prop_assert!(covers && found.len() == 1, "{seq}: {:?}\n{:?}", report.findings, shapes);
        }
    }

    #[test]
    fn a_record_that_was_doubled_is_found(shapes in shapes(), at: prop::sample::Index, to: prop::sample::Index) {
        let log = AuditLog::of(&shapes);
        let mut entries = log.entries.clone();
        let at = at.index(entries.len());
        let to = at + 1 + to.index(entries.len() - at);
        entries.insert(to, entries[at].clone());
        let found = findings_of(&verified(&entries, Some(log.head())));
        prop_assert_eq!(found, vec![(Kind::Double, audit_logs::seq(&log.entries[at]))]);
    }

    #[test]
    fn swapped_pair_is_found(shapes in shapes(), at: prop::sample::Index) {
        let log = AuditLog::of(&shapes);
        let mut entries = log.entries.clone();
        prop_assume!(entries.len() > 1);
        let at = at.index(entries.len() - 1);
        entries.swap(at, at + 1);
        let report = verified(&entries, Some(log.head()));
        let pair = [audit_logs::seq(&entries[at]), audit_logs::seq(&entries[at + 1])];
        let found = findings_of(&report);
        prop_assert!(found.len() == 1 && found[0].0 == Kind::Order && pair.contains(&found[0].1),
            "{pair:?}: {:?}\n{:?}", report.findings, shapes);
    }

    #[test]
    fn a_cut_end_is_found(shapes in shapes(), at: prop::sample::Index) {
        let log = AuditLog::of(&shapes);
        let at = at.index(log.entries.len());
        let report = verified(&log.entries[..at], Some(log.head()));
        let found = findings_of(&report);
        prop_assert!(found.len() == 1 && found[0].0 == Kind::Truncated);
        let last = at.checked_sub(1).map_or(0, |at| audit_logs::seq(&log.entries[at]));
        prop_assert_eq!((found[0].1, report.findings[0].last), (last + 1, log.head().seq));
    }

    #[test]
    fn anything_at_all_is_taken(noise in prop::collection::vec((odd(), odd(), any::<bool>(), prop::option::of((odd(), odd()))), 0..40)) {
        let mut verifier = Verifier::default();
        for (seq, after, is_forged, doubt) in noise {
            let mut entry = Entry::default();
            for (name, value) in [("REMIT_SEQ", seq.to_string()), ("REMIT_AFTER", after.to_string()), ("REMIT_PREV", "00".repeat(32)), ("REMIT_TIME", String::new())] {
                audit_logs::set(&mut entry, name, &value);
            }
            if let Some((first, last)) = doubt { audit_logs::set(&mut entry, "REMIT_DOUBT", &format!("{first}-{last}")); }
            if is_forged { audit_logs::forge(&mut entry, "MESSAGE", "x"); }
            verifier.take(&entry);
        }
        let _ = verifier.finish(Some(Expected { seq: 5, hash: [7; 32] }));
    }
}

/// Every case that a daemon can meet is a [`Shape`].
#[test]
fn shapes_are_all_tried() {
    let all = [
        Shape::Written,
        Shape::Doubted { written: true },
        Shape::Doubted { written: false },
    ];
    let log = AuditLog::of(&all);
    assert_eq!(findings_of(&verified(&log.entries, Some(log.head()))), []);
}
