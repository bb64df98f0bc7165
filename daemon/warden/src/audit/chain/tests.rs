use std::fs::{self, File, OpenOptions};
use std::path::PathBuf;

use remit_audit_verify::{Entry, Expected, Report, Verifier};

use super::*;
use crate::audit::record::Event;

const HERE: [u8; 16] = [1; 16];
const LATER: [u8; 16] = [2; 16];

fn scratch_file(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("remit-chain-{name}-{}", std::process::id()));
    let _ = fs::remove_file(&path);
    path
}

fn open(path: &Path, boot: [u8; 16]) -> Chain {
    Chain::open(path, boot, |_| false).unwrap()
}

fn record() -> Record {
    Record::new(Event::Start, "x").field("USER", "root")
}

fn write(chain: &mut Chain) -> Linked {
    let linked = chain.link(record(), 0).unwrap();
    chain.commit(&linked, false).unwrap();
    linked
}

fn value<'a>(linked: &'a Linked, name: &str) -> Option<&'a str> {
    let mut found = linked.fields().filter(|(n, _)| *n == name);
    found.next().map(|(_, value)| value)
}

fn verified(records: &[Linked], head: Link) -> Report {
    let mut verifier = Verifier::default();
    for linked in records {
        let record = record();
        let head = [
            ("MESSAGE", record.message.as_str()),
            ("MESSAGE_ID", record.event.message_id()),
            ("PRIORITY", record.priority),
        ];
        let mut fields: Vec<(String, String)> = head.map(|(n, v)| (n.into(), v.into())).into();
        fields.extend(
            linked
                .fields()
                .map(|(n, v)| (format!("REMIT_{n}"), v.to_owned())),
        );
        verifier.take(&Entry {
            fields,
            position: String::new(),
        });
    }
    let Link { seq, hash } = head;
    verifier.finish(Some(Expected { seq, hash }))
}

#[test]
fn records_are_linked_across_restart() {
    let path = scratch_file("restart");
    let mut chain = open(&path, HERE);
    let mut all = vec![write(&mut chain), write(&mut chain)];
    assert_eq!(value(&all[1], "PREV"), value(&all[0], "HASH"));
    assert_eq!(
        value(&all[0], "BOOT"),
        Some("01010101010101010101010101010101")
    );
    // Killed between two records, and stopped in order before the machine stops.
    drop(chain);
    let mut chain = open(&path, HERE);
    all.push(write(&mut chain));
    chain.stop().unwrap();
    let mut chain = open(&path, LATER);
    all.push(write(&mut chain));
    for (at, linked) in all.iter().enumerate() {
        assert_eq!(linked.seq(), at as u64 + 1);
        assert!(
            ["AFTER", "DOUBT"]
                .iter()
                .all(|name| value(linked, name).is_none())
        );
    }
    let report = verified(&all, chain.newest());
    assert!(
        report.findings.is_empty() && report.notes.is_empty(),
        "{report:?}"
    );
    fs::remove_file(path).unwrap();
}

#[test]
fn daemon_killed_while_writing_leaves_one_doubt() {
    for (is_there, is_seen) in [(false, false), (true, false), (true, true)] {
        let path = scratch_file("killed");
        let mut chain = open(&path, HERE);
        let mut all = vec![write(&mut chain)];
        for _ in 0..2 {
            let pending = chain.link(record(), 0).unwrap();
            let hash = hex(&pending.link.hash);
            if is_there {
                all.push(pending);
            }
            drop(chain);
            chain = Chain::open(&path, HERE, |is| is_seen && is == hash).unwrap();
        }
        let said = chain.doubts();
        assert_eq!(said.is_some(), !is_seen);
        let names_all = |said: String| said.contains("while it wrote records 2-3,");
        assert!(said.is_none_or(names_all));
        all.push(write(&mut chain));
        let last = all.last().unwrap();
        assert_eq!(
            (last.seq(), value(last, "DOUBT")),
            (4, (!is_seen).then_some("2-3"))
        );
        assert_eq!(chain.doubts(), None);
        all.push(write(&mut chain));
        let report = verified(&all, chain.newest());
        assert!(
            report.findings.is_empty(),
            "{is_there} {is_seen}: {report:?}"
        );
        assert_eq!(report.notes.is_empty(), is_there, "{report:?}");
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn machine_crash_repeats_no_number() {
    // Records that the head on the disk lacks, and how many exist. The first one after a crash may be in doubt.
    for (behind, kept) in [(0, 0), (3, 3), (3, 2), (3, 0)] {
        for doubted in [None, Some(false), Some(true)] {
            let path = scratch_file("down");
            let mut chain = open(&path, HERE);
            let mut all: Vec<_> = (0..5).map(|_| write(&mut chain)).collect();
            let on_disk = fs::read(&path).unwrap();
            let tail: Vec<_> = (0..behind).map(|_| write(&mut chain)).collect();
            drop(chain);
            fs::write(&path, on_disk).unwrap();
            all.extend(tail.into_iter().take(kept));
            let mut chain = open(&path, LATER);
            assert!(chain.doubts().is_some());
            if let Some(is_there) = doubted {
                let linked = chain.link(record(), 0).unwrap();
                drop(chain);
                if is_there {
                    all.push(linked);
                }
                chain = open(&path, LATER);
            }
            let first = write(&mut chain);
            assert_eq!(value(&first, "AFTER"), Some("5"));
            assert!(first.seq() > RESERVED);
            all.extend([first, write(&mut chain)]);
            let report = verified(&all, chain.newest());
            assert!(
                report.findings.is_empty(),
                "{behind} {kept} {doubted:?}: {report:?}"
            );
            assert!(!report.notes.is_empty());
            let mut numbers: Vec<_> = all.iter().map(Linked::seq).collect();
            numbers.dedup();
            assert_eq!(numbers.len(), all.len());
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn synced_record_survives_machine_crash() {
    let path = scratch_file("synced");
    let mut chain = open(&path, HERE);
    let mut all: Vec<_> = (0..5).map(|_| write(&mut chain)).collect();
    let linked = chain.link(record(), 0).unwrap();
    chain.commit(&linked, true).unwrap();
    all.extend([linked, write(&mut chain)]);
    drop(chain);
    let mut chain = open(&path, LATER);
    all.push(write(&mut chain));
    assert_eq!(value(&all[7], "SYNCED"), Some("6"));
    all.remove(6);
    assert!(verified(&all, chain.newest()).findings.is_empty());
    all.remove(5);
    let report = verified(&all, chain.newest());
    assert_eq!(
        (report.findings.len(), report.findings[0].seq),
        (1, 6),
        "{report:?}"
    );
    fs::remove_file(path).unwrap();
}

#[test]
fn withdrawn_record_leaves_its_number() {
    let path = scratch_file("withdrawn");
    let mut chain = open(&path, HERE);
    let first = chain.link(record(), 0).unwrap();
    chain.withdraw().unwrap();
    drop(chain);
    let mut chain = open(&path, HERE);
    assert_eq!(chain.doubts(), None);
    assert_eq!(write(&mut chain).seq(), first.seq());
    // A head that cannot be written lets no record out and changes nothing in memory.
    let mut chain = Chain {
        file: InPlaceFile::new(&path, File::open(&path).unwrap()),
        ..chain
    };
    assert!(chain.link(record(), 0).is_err());
    let writable = OpenOptions::new().write(true).open(&path).unwrap();
    chain.file = InPlaceFile::new(&path, writable);
    let second = chain.link(record(), 0).unwrap();
    // A written record counts, even if the head cannot be kept.
    chain.file = InPlaceFile::new(&path, File::open(&path).unwrap());
    assert!(chain.commit(&second, false).is_err());
    assert_eq!(chain.newest(), second.link);
    fs::remove_file(path).unwrap();
}

#[test]
fn numbers_are_reserved_before_use() {
    let path = scratch_file("reserved");
    let mut chain = open(&path, HERE);
    let kept = |path: &Path| Head::parse(&fs::read(path).unwrap()).unwrap();
    let first = kept(&path).reserved;
    chain.next = first;
    write(&mut chain);
    assert_eq!(kept(&path).reserved, first);
    write(&mut chain);
    assert!(kept(&path).reserved > first);
    fs::remove_file(path).unwrap();
}

#[test]
fn damaged_or_unknown_head_is_refused() {
    let path = scratch_file("odd");
    write(&mut open(&path, HERE));
    let good = fs::read(&path).unwrap();
    let mut flipped = good.clone();
    flipped[100] ^= 1;
    let longer = [&good[..], b"x"].concat();
    // 40 bytes: a number and a hash without a version.
    for odd in [&b"short"[..], &[3; 40], &flipped, &good[1..], &longer] {
        fs::write(&path, odd).unwrap();
        let why = Chain::open(&path, HERE, |_| false).unwrap_err().to_string();
        assert!(why.contains("move it away"), "{why}");
    }
    fs::remove_file(path).unwrap();
}

#[test]
#[should_panic(expected = "a field is there twice")]
fn duplicate_field_is_refused() {
    let path = scratch_file("twice");
    let record = record().field("USER", "again");
    let mut chain = open(&path, HERE);
    fs::remove_file(path).unwrap();
    let _ = chain.link(record, 0);
}

#[test]
fn dates() {
    for (ms, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (1_795_162_271_042, "2026-11-20T08:11:11.042Z"),
        (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
    ] {
        assert_eq!(timestamp(ms), text);
    }
}
