//! The program itself, with a journalctl of the test's own.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use remit_common::service::{ServiceFacts, Told, UnitFacts};

/// A directory with a journalctl, a script of the test's, gone afterwards.
struct Fake(PathBuf);

impl Fake {
    fn new(name: &str, script: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("remit-look-{}-{name}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let program = dir.join("journalctl");
        // By a process of its own: a test that forks meanwhile would inherit the open file, and
        // what is open for writing cannot be executed.
        let mut writer = Command::new("tee")
            .arg(&program)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut to = writer.stdin.take().unwrap();
        write!(to, "#!/bin/sh\n{script}\n").unwrap();
        drop(to);
        assert!(writer.wait().unwrap().success());
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self(dir)
    }

    fn look(&self, words: &[&str], stdin: &[u8]) -> Output {
        let path = format!("{}:/usr/bin:/bin", self.0.display());
        let mut child = Command::new(env!("CARGO_BIN_EXE_remit-look"))
            .args(words)
            .env("PATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may refuse its words before it reads.
        let _ = child.stdin.take().unwrap().write_all(stdin);
        child.wait_with_output().unwrap()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Status, standard output, standard error.
fn said(output: &Output) -> (i32, &str, &str) {
    (
        output.status.code().unwrap(),
        std::str::from_utf8(&output.stdout).unwrap(),
        std::str::from_utf8(&output.stderr).unwrap(),
    )
}

fn facts(told: Result<Told, String>) -> Vec<u8> {
    serde_json::to_vec(&ServiceFacts { time: 100, told }).unwrap()
}

fn unit(load: &str, active: &str) -> Vec<u8> {
    facts(Ok(Told::Unit(Box::new(UnitFacts {
        name: "a.service".into(),
        load: load.into(),
        active: active.into(),
        ..UnitFacts::default()
    }))))
}

const ONE: &str =
    r#"echo '{"__REALTIME_TIMESTAMP":"1000000","MESSAGE":"hello","SYSLOG_IDENTIFIER":"a"}'"#;

#[test]
fn the_journal_is_asked_in_utc_with_fixed_words() {
    let fake = Fake::new(
        "words",
        &format!("echo \"$TZ $*\" >\"${{0%/*}}/asked\"\n{ONE}"),
    );
    let output = fake.look(&["logs", "unit=a", "grep=--flush"], b"");
    assert_eq!(
        said(&output),
        (0, "1970-01-01 UTC\n00:00:01 a: hello\n", "")
    );
    let asked = fs::read_to_string(fake.0.join("asked")).unwrap();
    assert!(
        asked.starts_with("UTC --no-pager --output=json "),
        "{asked}"
    );
    assert!(
        asked.ends_with(" --unit=a.service --grep=--flush\n"),
        "{asked}"
    );
}

#[test]
fn what_is_left_out_is_counted_to_a_bound_and_the_journal_is_not_read_on() {
    let some = r#"for i in 9 8 7 6 5; do
        echo "{\"__REALTIME_TIMESTAMP\":\"${i}000000\",\"MESSAGE\":\"$i\",\"_COMM\":\"a\"}"; done"#;
    let fake = Fake::new("some", some);
    let output = fake.look(&["logs", "lines=2"], b"");
    let (status, out, _) = said(&output);
    assert_eq!(status, 0);
    assert_eq!(
        out,
        "3 older entries are left out: ask with more lines, or until='1970-01-01 00:00:07.999999'\n\
         1970-01-01 UTC\n00:00:08 a: 8\n00:00:09 a: 9\n"
    );
    // Without an end: it is killed when enough was read.
    let endless = r#"i=0; while :; do i=$((i + 1))
        echo "{\"__REALTIME_TIMESTAMP\":\"9000000\",\"MESSAGE\":\"$i\"}"; done"#;
    let fake = Fake::new("endless", endless);
    let output = fake.look(&["logs", "lines=1"], b"");
    let (status, out, _) = said(&output);
    assert_eq!(status, 0);
    assert!(out.starts_with("more than 10000 older entries"), "{out}");
}

#[test]
fn no_journal_is_an_error_and_no_match_is_an_answer() {
    let cases = [
        (
            "none",
            "echo 'No journal files were found.' >&2",
            1,
            "No journal files",
        ),
        (
            "off",
            "echo \"Failed: \x1b[1m\" >&2; exit 1",
            1,
            "Failed: \\x1b[1m",
        ),
        ("died", "kill -9 $$", 1, "signal"),
        ("grep", "exit 1", 0, ""),
        ("empty", "exit 0", 0, ""),
    ];
    for (name, script, expect, says) in cases {
        let output = Fake::new(name, script).look(&["logs"], b"");
        let (status, out, err) = said(&output);
        assert_eq!(
            (status, err.contains(says)),
            (expect, true),
            "{name}: {err}"
        );
        assert_eq!(out.contains("no entry"), expect == 0, "{name}: {out}");
    }
}

#[test]
fn a_status_tells_by_its_exit_status_too() {
    let fake = Fake::new(
        "status",
        &format!("echo \"$*\" >\"${{0%/*}}/asked\"\n{ONE}"),
    );
    for (load, active, expect, log) in [
        ("loaded", "active", 0, true),
        ("loaded", "activating", 0, true),
        ("loaded", "failed", 3, true),
        ("loaded", "inactive", 3, true),
        ("masked", "inactive", 3, true),
        ("not-found", "inactive", 4, false),
        ("not-found", "active", 0, true),
    ] {
        let output = fake.look(&["service.status", "unit=a"], &unit(load, active));
        let (status, out, err) = said(&output);
        assert_eq!((status, err), (expect, ""), "{load} {active}");
        assert_eq!(out.contains("00:00:01 a: hello"), log, "{out}");
    }
    // It was asked for by another of its names.
    fake.look(&["service.status", "unit=b"], &unit("loaded", "active"));
    let asked = fs::read_to_string(fake.0.join("asked")).unwrap();
    assert!(asked.ends_with(" --unit=a.service\n"), "{asked}");
}

#[test]
fn without_the_manager_the_log_lines_are_still_there() {
    let fake = Fake::new("nobus", ONE);
    let nobody = facts(Err("no system bus at '/run/x'".into()));
    let output = fake.look(&["service.status", "unit=a"], &nobody);
    let (status, out, err) = said(&output);
    assert_eq!(status, 1);
    assert!(
        err.contains("cannot be asked: no system bus at '/run/x'"),
        "{err}"
    );
    assert!(out.contains("hello"), "{out}");
    for words in [&["service.failed"][..], &["service.list", "state=failed"]] {
        let output = fake.look(words, &nobody);
        let (status, out, err) = said(&output);
        assert_eq!((status, out), (1, ""), "{words:?}");
        assert!(err.contains("no system bus"), "{err}");
    }
}

#[test]
fn odd_words_and_odd_input_are_sentences() {
    let fake = Fake::new("odd", ONE);
    let unit = unit("loaded", "active");
    for (words, stdin, says) in [
        (&[][..], &b""[..], "there is no command"),
        (&["service.stop"], b"", "there is no command 'service.stop'"),
        (&["logs", "--vacuum-size=1"], b"", "does not exist"),
        (&["service.status", "unit=a"], b"", "standard input"),
        (&["service.status", "unit=a"], b"{}", "standard input"),
        (&["service.failed"], &unit, "another command"),
    ] {
        let output = fake.look(words, stdin);
        let (status, out, err) = said(&output);
        assert_eq!((status, out), (1, ""), "{words:?}");
        assert!(
            err.contains(says) && err.lines().count() == 1,
            "{words:?}: {err}"
        );
    }
}
