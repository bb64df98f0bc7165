//! The audit trail: before the exec, complete, in a chain, and no place for secrets or forgeries.

// A test stops at the first surprise; clippy knows that only of functions marked as tests.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::fs;

use remit_common::wire::{Bytes, Run, What};
use remit_tests::caller::{Caller, argv, at_once, run, script, stdout};
use remit_tests::daemon::{Daemon, Options, user_a};

/// What somebody might put into an argument so that a line reads otherwise.
const FORGERIES: &[&str] = &[
    "a\nREMIT_VERDICT=allow",
    "a\r\nb",
    "\",\"REMIT_UID\":\"0",
    "\\\",\\\"REMIT_UID\\\":\\\"0",
    "\x1b[2J\x1b]0;title\x07",
    "\u{9b}31m",
    "\u{2028}next\u{2029}next",
    "\u{202e}reversed",
    "\u{200b}",
    "\u{feff}",
    "\x7f\x08\x0b\x0c",
    "'; rm -rf / #",
    "$(id)`id`",
    "%n%s",
    "}\n{\"REMIT_EVENT\":\"stop\"}",
];

#[test]
fn no_argument_can_forge_a_record() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    for forgery in FORGERIES {
        let report = caller
            .run(argv(&["printf", "%s", forgery]))
            .expect("user A has a grant");
        // What ran is what was asked for, byte for byte.
        assert_eq!(stdout(&report), *forgery);
    }
    let bytes = vec![
        Bytes::from(b"printf".to_vec()),
        Bytes::from(b"\xff\xfe\xc3\x28".to_vec()),
    ];
    let report = caller.run(run(What::Argv(bytes))).expect("it is granted");
    assert_eq!(report.stdout.head.as_slice(), b"\xff\xfe\xc3\x28");

    let text = fs::read_to_string(daemon.path().join("state/audit.jsonl")).expect("it is UTF-8");
    let control = text.chars().find(|char| char.is_control() && *char != '\n');
    assert_eq!(control, None);
    for hidden in ['\u{2028}', '\u{2029}', '\u{202e}', '\u{200b}', '\u{feff}'] {
        assert!(!text.contains(hidden), "{hidden:?} stands in the trail");
    }
    // Every line is one JSON object, and there is one for each event: a forged one would be one too many.
    let count = FORGERIES.len() + 1;
    assert_eq!(
        (daemon.records("intent").len(), daemon.records("end").len()),
        (count, count)
    );
    assert!(
        daemon
            .audit()
            .iter()
            .filter_map(|record| record["REMIT_UID"].as_str())
            .all(|uid| uid == "64001")
    );
    daemon.stop();
}

#[test]
fn a_record_is_short_however_long_the_arguments() {
    let daemon = Daemon::start(Options::default());
    let long = "x".repeat(100 << 10);
    let _ = Caller::new(&daemon, &user_a())
        .run(argv(&["true", &long, &long, &long]))
        .expect("it is granted");
    let text = fs::read_to_string(daemon.path().join("state/audit.jsonl")).expect("it is UTF-8");
    let longest = text.lines().map(str::len).max().unwrap_or(0);
    assert!(longest < 64 << 10, "{longest} bytes");
    daemon.stop();
}

#[test]
fn the_intent_stands_before_the_job_runs_and_the_end_after() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let running = caller
        .run(at_once(argv(&["sleep", "1"])))
        .expect("user A has a grant");
    let intents = daemon.records("intent");
    assert_eq!(intents.len(), 1);
    assert_eq!(intents[0]["REMIT_JOB"], running.job.to_string());
    assert_eq!(daemon.records("end").len(), 0);
    let _ = caller.end_of(running.job);
    let ends = daemon.records("end");
    assert_eq!(ends.len(), 1);
    assert_eq!(
        (&ends[0]["REMIT_JOB"], &ends[0]["REMIT_EXIT"]),
        (&intents[0]["REMIT_JOB"], &"0".into())
    );
    daemon.stop();
}

#[test]
fn each_record_carries_the_hash_of_the_one_before() {
    let mut daemon = Daemon::start(Options::default());
    for _ in 0..2 {
        let _ = Caller::new(&daemon, &user_a())
            .run(argv(&["true"]))
            .expect("user A has a grant");
        daemon.restart_cleanly();
    }
    let records = daemon.audit();
    assert!(records.len() > 8, "{} records", records.len());
    for pair in records.windows(2) {
        assert_eq!(pair[1]["REMIT_PREV"], pair[0]["REMIT_HASH"], "{pair:?}");
        let number = |record: &serde_json::Value| {
            record["REMIT_SEQ"]
                .as_str()
                .and_then(|seq| seq.parse::<u64>().ok())
        };
        assert_eq!(
            number(&pair[1]),
            number(&pair[0]).map(|seq| seq + 1),
            "{pair:?}"
        );
    }
    daemon.stop();
}

#[test]
fn secrets_do_not_get_into_the_trail() {
    let daemon = Daemon::start(Options::default());
    let secret = "canary-8b1f7c";
    let run = Run {
        env: vec![(
            Bytes::from(b"TZ".to_vec()),
            Bytes::from(secret.as_bytes().to_vec()),
        )],
        stdin: Some(Bytes::from(secret.as_bytes().to_vec())),
        ..script("cat; echo $TZ >&2")
    };
    let report = Caller::new(&daemon, &user_a())
        .run(run)
        .expect("user A has a grant");
    assert_eq!(stdout(&report), secret);
    let text = fs::read_to_string(daemon.path().join("state/audit.jsonl")).expect("it is UTF-8");
    assert!(
        text.contains("echo $TZ"),
        "the script is told by its beginning: {text}"
    );
    assert!(
        !text.contains(secret) && !daemon.stderr().contains(secret),
        "{text}"
    );
    daemon.stop();
}
