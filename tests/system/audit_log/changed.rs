//! The file is rotated, cut or written to while the daemon runs; its head is damaged or gone. Verification reports
//! the number of the record that was changed.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use remit_common::admin::{AdminReply, AdminRequest};
use remit_common::hex::hex;
use remit_common::refusal::Code;
use remit_tests::caller::{Caller, argv};
use remit_tests::daemon::{Daemon, Options, user_a};
use remit_tests::process::ends_within;
use remit_tests::random::Random;
use remit_tests::test_dir::built;
use serde_json::Value;

#[test]
fn rotated_file_continues_in_new_file() {
    let daemon = started();
    let path = log(&daemon);
    let old = path.with_extension("jsonl.1");
    fs::rename(&path, &old).expect("it is ours");
    run_some(&daemon);
    assert!(
        lines(&path)[0].contains("moved or removed"),
        "{:?}",
        reported(&daemon)
    );
    assert_eq!(found(&[&old, &path], Some(&head(&daemon))), []);
    assert_eq!(found(&[&path], Some(&head(&daemon))), []);
    // Like logrotate's copytruncate.
    let copy = path.with_extension("jsonl.2");
    let length = fs::copy(&path, &copy).expect("it is ours");
    cut(&daemon, 0);
    run_some(&daemon);
    assert!(
        lines(&path)[0].contains(&format!("cut from {length} to 0 bytes")),
        "{:?}",
        reported(&daemon)
    );
    assert_eq!(found(&[&old, &copy, &path], Some(&head(&daemon))), []);
    assert_eq!(reported(&daemon).len(), 1, "each is reported once");
    daemon.is_well();
    daemon.stop();
}

fn cut(daemon: &Daemon, length: u64) {
    let file = OpenOptions::new()
        .write(true)
        .open(log(daemon))
        .expect("it is there");
    file.set_len(length).expect("it is ours");
}

#[test]
fn foreign_change_of_file_is_reported() {
    let daemon = started();
    let path = log(&daemon);
    let all = lines(&path);
    let length = fs::metadata(&path).expect("it is there").len();
    let left = length - all[all.len() - 1].len() as u64 - 20;
    cut(&daemon, left);
    run_some(&daemon);
    let said = reported(&daemon);
    assert!(
        said.iter()
            .any(|s| s.contains(&format!("cut from {length} to {left} bytes"))),
        "{said:?}"
    );
    let last = all.len() as u64;
    assert_eq!(
        found(&[&path], None),
        [
            ("unreadable".to_owned(), last - 1),
            ("gap".to_owned(), last)
        ]
    );
    let mut file = OpenOptions::new()
        .append(true)
        .open(&path)
        .expect("it is there");
    file.write_all(b"garbage").expect("it is ours");
    run_some(&daemon);
    let said = reported(&daemon);
    assert!(
        said.iter()
            .any(|s| s.contains("another process wrote 7 bytes to its file")),
        "{said:?}"
    );
    assert_eq!(found(&[&path], None).len(), 3);
    daemon.is_well();
    daemon.stop();
}

#[test]
fn while_its_file_could_be_anybodys_nothing_runs() {
    let daemon = started();
    let path = log(&daemon);
    let mut caller = Caller::new(&daemon, &user_a());
    let state = path.parent().expect("it has one").to_owned();
    let mode =
        |bits| fs::set_permissions(&state, fs::Permissions::from_mode(bits)).expect("it is ours");
    fs::remove_file(&path).expect("it is there");
    mode(0o777);
    let refusal = caller.run(argv(&["true"])).expect_err("all could write it");
    assert_eq!(refusal.code, Code::NotStarted, "{refusal}");
    assert!(!path.exists());
    mode(0o755);
    run_some(&daemon);
    assert!(lines(&path)[0].contains("moved or removed"));
    daemon.stop();
}

#[test]
fn chain_begins_again_without_its_head_file() {
    let mut daemon = started();
    let path = log(&daemon);
    kill(&daemon);
    // As a damaged one must be removed.
    fs::remove_file(daemon.path().join("state/warden/audit-head")).expect("it is there");
    daemon.restart();
    run_some(&daemon);
    let kinds = found(&[&path], None);
    assert_eq!(kinds, [("fork".to_owned(), 1)]);
    daemon.stop();
}

#[test]
fn second_daemon_leaves_audit_log_of_first() {
    let daemon = started();
    let before = fs::read(log(&daemon)).expect("it is there");
    let head_before = head(&daemon);
    let path = daemon.path();
    let mut second = Command::new(path.join("bin/remitd"));
    for (option, name) in [
        ("--config", "config"),
        ("--vendor", "vendor"),
        ("--state", "state"),
        ("--runtime", "other"),
    ] {
        let _ = second.arg(option).arg(path.join(name));
    }
    let second = second.output().expect("it starts");
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(
        !second.status.success() && said.contains("another remitd uses"),
        "{said}"
    );
    assert_eq!(fs::read(log(&daemon)).expect("it is there"), before);
    assert_eq!(head(&daemon), head_before);
    daemon.is_well();
    daemon.stop();
}

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
        let numbers: Vec<u64> = found_in(&value).iter().map(|(_, seq)| *seq).collect();
        // If a newline is lost, two records become one. At the beginning only the second one's number is known.
        let is_merged = line == 1 && whole[at] == b'\n' && numbers.first() == Some(&2);
        assert!(
            numbers.first() == Some(&line) || is_merged,
            "byte {at}, bit {bit}, record {line}: {value:#}"
        );
    }
    daemon.stop();
}

pub fn log(daemon: &Daemon) -> PathBuf {
    daemon.path().join("state/audit.jsonl")
}

pub fn verified(files: &[&Path], expect: Option<&str>) -> (String, Value) {
    let ask = |json: bool| {
        let mut remit = Command::new(built().join("remit"));
        if json {
            let _ = remit.arg("--json");
        }
        let _ = remit.args(["audit", "verify"]);
        files.iter().for_each(|file| {
            let _ = remit.arg("--file").arg(file);
        });
        let _ = remit.args(expect.into_iter().flat_map(|head| ["--expect", head]));
        remit.output().expect("remit starts")
    };
    let plain = ask(false);
    let text = String::from_utf8(plain.stdout).expect("it writes text");
    let errors = String::from_utf8_lossy(&plain.stderr).into_owned();
    let value: Value =
        serde_json::from_slice(&ask(true).stdout).unwrap_or_else(|_| panic!("{text}{errors}"));
    let whole = value["whole"] == true;
    assert_eq!(
        plain.status.code(),
        Some(i32::from(!whole)),
        "{text}{errors}"
    );
    let first = text.lines().chain(errors.lines()).next();
    (first.unwrap_or_default().to_owned(), value)
}

pub fn found(files: &[&Path], expect: Option<&str>) -> Vec<(String, u64)> {
    found_in(&verified(files, expect).1)
}

fn found_in(value: &Value) -> Vec<(String, u64)> {
    let findings = value["findings"].as_array().expect("a list");
    let reported = |f: &Value| {
        let kind = f["kind"].as_str().expect("a word").to_lowercase();
        (kind, f["seq"].as_u64().expect("a number"))
    };
    findings.iter().map(reported).collect()
}

pub fn head(daemon: &Daemon) -> String {
    match daemon.administer(AdminRequest::AuditHead) {
        Ok(AdminReply::AuditHead(head)) => {
            format!("{}:{}", head.seq, hex(&head.hash))
        }
        other => panic!("{other:?}"),
    }
}

pub fn started() -> Daemon {
    let daemon = Daemon::start(Options::default());
    run_some(&daemon);
    daemon
}

pub fn run_some(daemon: &Daemon) {
    let mut caller = Caller::new(daemon, &user_a());
    for word in ["a", "b", "c"] {
        let _ = caller.run(argv(&["echo", word])).expect("it is accepted");
    }
}

pub fn kill(daemon: &Daemon) {
    daemon.signal(Signal::SIGKILL);
    assert!(ends_within(daemon.pid(), 20_000));
}

pub fn reported(daemon: &Daemon) -> Vec<String> {
    // Some lines may be damaged.
    let records = lines(&log(daemon)).into_iter();
    let records = records.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    let text = |record: Value| record["MESSAGE"].as_str().unwrap_or_default().to_owned();
    records
        .filter(|record| record["REMIT_EVENT"] == "trail")
        .map(text)
        .collect()
}

pub fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).expect("it is there");
    text.lines().map(str::to_owned).collect()
}
