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

use remit_wire::service::{ManagerAnswer, ServiceFacts, UnitFacts};

struct Fake(PathBuf);

impl Fake {
    fn new(script: &str) -> Self {
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-look-XXXXXX")).unwrap();
        let program = dir.join("journalctl");
        // A separate process writes it: another test's fork could inherit the open file (ETXTBSY).
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
        // It may reject its words before it reads.
        let _ = child.stdin.take().unwrap().write_all(stdin);
        child.wait_with_output().unwrap()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn said(output: &Output) -> (i32, &str, &str) {
    (
        output.status.code().unwrap(),
        std::str::from_utf8(&output.stdout).unwrap(),
        std::str::from_utf8(&output.stderr).unwrap(),
    )
}

fn facts(answer: Result<ManagerAnswer, String>) -> Vec<u8> {
    serde_json::to_vec(&ServiceFacts { time: 100, answer }).unwrap()
}

fn unit(load: &str, active: &str) -> Vec<u8> {
    facts(Ok(ManagerAnswer::Unit(Box::new(UnitFacts {
        name: "a.service".into(),
        load: load.into(),
        active: active.into(),
        ..UnitFacts::default()
    }))))
}

const ONE: &str =
    r#"echo '{"__REALTIME_TIMESTAMP":"1000000","MESSAGE":"hello","SYSLOG_IDENTIFIER":"a"}'"#;

#[test]
fn journal_query_is_utc_with_fixed_words() {
    let fake = Fake::new(&format!("echo \"$TZ $*\" >\"${{0%/*}}/asked\"\n{ONE}"));
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
fn omitted_entries_are_counted_to_a_bound() {
    let some = r#"for i in 9 8 7 6 5; do
        echo "{\"__REALTIME_TIMESTAMP\":\"${i}000000\",\"MESSAGE\":\"$i\",\"_COMM\":\"a\"}"; done"#;
    let fake = Fake::new(some);
    let output = fake.look(&["logs", "lines=2"], b"");
    let (status, out, _) = said(&output);
    assert_eq!(status, 0);
    assert_eq!(
        out,
        "3 older entries are left out: ask with more lines, or until='1970-01-01 00:00:07.999999'\n\
         1970-01-01 UTC\n00:00:08 - a: 8\n00:00:09 - a: 9\n"
    );
    // Endless output: journalctl is killed as soon as enough is read.
    let endless = r#"i=0; while :; do i=$((i + 1))
        echo "{\"__REALTIME_TIMESTAMP\":\"9000000\",\"MESSAGE\":\"$i\"}"; done"#;
    let fake = Fake::new(endless);
    let output = fake.look(&["logs", "lines=1"], b"");
    let (status, out, _) = said(&output);
    assert_eq!(status, 0);
    assert!(out.starts_with("more than 10000 older entries"), "{out}");
}

#[test]
fn entries_that_are_too_long_are_counted() {
    let long = r#"printf '{"__REALTIME_TIMESTAMP":"2000000","MESSAGE":['
        head -c 1100000 /dev/zero | tr '\0' 1; echo ']}'"#;
    let fake = Fake::new(&format!("{long}\n{ONE}"));
    let output = fake.look(&["logs"], b"");
    let expect = "1 entry is too long to be shown\n1970-01-01 UTC\n00:00:01 - a: hello\n";
    assert_eq!(said(&output), (0, expect, ""));
    let fake = Fake::new(&format!("{long}\n{long}"));
    let output = fake.look(&["logs"], b"");
    let expect = "2 entries are too long to be shown\n";
    assert_eq!(said(&output), (0, expect, ""));
    let output = fake.look(&["service.status", "unit=a"], &unit("loaded", "active"));
    let (_, out, _) = said(&output);
    assert!(out.contains(expect) && !out.contains("no entry"), "{out}");
}

#[test]
fn missing_journal_is_error_no_match_is_answer() {
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
        let output = Fake::new(script).look(&["logs"], b"");
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
fn journal_that_begins_later_than_what_is_asked_for_says_so() {
    // The question for the oldest entry is the one that is not reversed.
    let oldest = |seconds: &str| {
        let entry = format!(r#"echo '{{"__REALTIME_TIMESTAMP":"{seconds}000000"}}'"#);
        Fake::new(&format!("case \"$*\" in *--reverse*) ;; *) {entry};; esac"))
    };
    let (early, late) = (oldest("1000000000"), oldest("4102444800"));
    let begin = "no entry matches\nthe journal begins at 2100-01-01 00:00:00 UTC\n";
    for (fake, words, expect) in [
        (&late, &["logs", "since=-3d"][..], begin),
        (&early, &["logs", "since=-3d"], "no entry matches\n"),
        (&late, &["logs"], "no entry matches\n"),
        (&Fake::new(""), &["logs", "since=-3d"], "no entry matches\n"),
    ] {
        let output = fake.look(words, b"");
        assert_eq!(said(&output), (0, expect, ""), "{words:?}");
    }
}

#[test]
fn warning_beside_entries_is_passed_on() {
    let damaged = "Journal file /var/log/journal/a/b.journal corrupted, ignoring file.";
    let fake = Fake::new(&format!("echo '{damaged}' >&2\n{ONE}"));
    let expect = format!("remit-look: journalctl warns: {damaged}\n");
    for words in [&["logs"][..], &["service.status", "unit=a"]] {
        let output = fake.look(words, &unit("loaded", "active"));
        let (status, out, err) = said(&output);
        assert_eq!((status, err), (0, expect.as_str()), "{words:?}");
        assert!(out.contains("hello"), "{words:?}: {out}");
    }
}

#[test]
fn a_status_tells_by_its_exit_status_too() {
    let fake = Fake::new(&format!("echo \"$*\" >\"${{0%/*}}/asked\"\n{ONE}"));
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
    let asked = fs::read_to_string(fake.0.join("asked")).unwrap();
    assert!(asked.ends_with(" --unit=a.service\n"), "{asked}");
}

#[test]
fn alias_of_a_unit_shows_nothing_of_it() {
    let fake = Fake::new(ONE);
    let output = fake.look(&["service.status", "unit=b"], &unit("loaded", "active"));
    let expect = "remit-look: unit 'b.service' is 'a.service': ask for it by that name, which rules and people know\n";
    assert_eq!(said(&output), (1, "", expect));
}

#[test]
fn log_lines_are_shown_without_manager() {
    let fake = Fake::new(ONE);
    let no_bus = facts(Err("no system bus at '/run/x'".into()));
    let output = fake.look(&["service.status", "unit=a"], &no_bus);
    let (status, out, err) = said(&output);
    assert_eq!(status, 1);
    assert!(
        err.contains("cannot be asked: no system bus at '/run/x'"),
        "{err}"
    );
    assert!(out.contains("hello"), "{out}");
    for words in [&["service.failed"][..], &["service.list", "state=failed"]] {
        let output = fake.look(words, &no_bus);
        let (status, out, err) = said(&output);
        assert_eq!((status, out), (1, ""), "{words:?}");
        assert!(err.contains("no system bus"), "{err}");
    }
}

#[test]
fn odd_words_and_odd_input_are_sentences() {
    let fake = Fake::new(ONE);
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
