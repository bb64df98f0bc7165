//! Changes of the audit log file, and the record number that verification reports.

use std::fs;
use std::path::Path;

use remit_tests::random::Random;

use crate::audit_log::scene::{found, head, lines, log, started, verified};

fn write(path: &Path, lines: &[String]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(path, text).expect("the directory is writable");
}

#[test]
fn each_tampering_is_found_with_record_number() {
    let daemon = started();
    let head = head(&daemon);
    let whole = lines(&log(&daemon));
    assert!(whole.len() >= 7, "{}", whole.len());
    let copy = daemon.path().join("copy.jsonl");
    let of = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = whole.clone();
        change(&mut lines);
        write(&copy, &lines);
        found(&[&copy], Some(&head))
    };
    let one = |kind: &str, seq: u64| vec![(kind.to_owned(), seq)];
    assert_eq!(of(&|_| {}), []);
    assert_eq!(
        of(&|l| l[3] = l[3].replacen("MESSAGE\":\"", "MESSAGE\":\"x", 1)),
        one("edit", 4)
    );
    assert_eq!(of(&|l| drop(l.remove(3))), one("gap", 4));
    assert_eq!(of(&|l| l.insert(6, l[3].clone())), one("double", 4));
    assert_eq!(of(&|l| l.swap(3, 4)), one("order", 5));
    assert_eq!(of(&|l| l.truncate(5)), one("truncated", 6));
    assert_eq!(of(&|l| l[3].truncate(100)), one("unreadable", 4));
    let beginning = daemon.path().join("beginning.jsonl");
    write(&beginning, &whole[..3]);
    write(&copy, &whole[3..]);
    assert_eq!(
        found(&[&copy], Some(&head)),
        [],
        "an older file is not here"
    );
    assert_eq!(found(&[&beginning, &copy], Some(&head)), []);
    write(&copy, &whole[4..]);
    assert_eq!(found(&[&beginning, &copy], Some(&head)), one("gap", 4));
    let (first, _) = verified(&[&beginning, &copy], Some(&head));
    assert!(first.contains("record 4"), "{first}");
    daemon.stop();
}

#[test]
fn a_flipped_bit_is_found_wherever_it_is() {
    let mut random = Random::seeded_by("REMIT_TRAIL_SEED");
    let daemon = started();
    let head = head(&daemon);
    let whole = fs::read(log(&daemon)).expect("it is there");
    let copy = daemon.path().join("copy.jsonl");
    for _ in 0..60 {
        let at = random.below(u32::try_from(whole.len()).expect("it is short")) as usize;
        let bit = 1 << random.below(7);
        let line = whole[..at].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        let mut bytes = whole.clone();
        bytes[at] ^= bit;
        fs::write(&copy, &bytes).expect("the directory is writable");
        let (_, value) = verified(&[&copy], Some(&head));
        let reported = found(&[&copy], Some(&head));
        let numbers: Vec<u64> = reported.iter().map(|(_, seq)| *seq).collect();
        // If a newline is lost, two records become one.
        assert!(
            numbers.first() == Some(&line),
            "byte {at}, bit {bit}, record {line}: {value:#}"
        );
    }
    daemon.stop();
}
