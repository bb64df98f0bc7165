//! `remit` against a real daemon: what a shell sees of a job.

// A test stops at the first surprise; clippy knows that only of functions marked as tests.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::process::Output;

use remit_tests::daemon::{Daemon, Options, stranger, user_a, user_m};
use serde_json::Value;

fn status(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

fn stderr_lines(output: &Output) -> usize {
    String::from_utf8_lossy(&output.stderr).lines().count()
}

#[test]
fn the_exit_status_is_the_commands_or_says_what_happened() {
    let daemon = Daemon::start(Options {
        limits: "runtime_s = 2".into(),
        ..Options::default()
    });
    for (arguments, expected, says) in [
        (&["run", "--", "sh", "-c", "exit 7"][..], 7, ""),
        (&["run", "--", "true"], 0, ""),
        (&["run", "--script", "exit 8"], 8, ""),
        (&["run", "--", "sh", "-c", "kill -9 $$"], 128 + 9, "signal"),
        (&["run", "--", "sleep", "1000"], 124, "time"),
        (&["run", "--", "no-such-program"], 127, "no-such-program"),
        (&["run", "--", "/etc"], 126, "/etc"),
        (
            &["run", "--profile", "no-such-profile", "--", "true"],
            125,
            "no-such-profile",
        ),
    ] {
        let output = daemon.remit(&user_a(), arguments);
        assert_eq!(status(&output), expected, "{arguments:?}: {output:?}");
        let lines = usize::from(!says.is_empty());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            text.contains(says) && stderr_lines(&output) >= lines,
            "{arguments:?}: {text}"
        );
        assert!(
            says.is_empty() || stderr_lines(&output) <= 3,
            "{arguments:?}: {text}"
        );
    }
    daemon.is_well();
    daemon.stop();
}

#[test]
fn who_may_not_is_told_so() {
    let daemon = Daemon::start(Options::default());
    let refused = daemon.remit(&user_m(), &["run", "--", "true"]);
    assert_eq!(status(&refused), 125, "{refused:?}");
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("denied_rule"),
        "{refused:?}"
    );
    let kept_out = daemon.remit(&stranger(), &["run", "--", "true"]);
    assert_eq!(status(&kept_out), 77, "{kept_out:?}");
    assert!(
        String::from_utf8_lossy(&kept_out.stderr).contains("may not connect"),
        "{kept_out:?}"
    );
    daemon.stop();
}

#[test]
fn streams_stay_apart_and_json_is_one_object() {
    let daemon = Daemon::start(Options::default());
    let output = daemon.remit(
        &user_a(),
        &["run", "--script", "echo out; echo err >&2; exit 3"],
    );
    assert_eq!(
        (status(&output), output.stdout.as_slice()),
        (3, &b"out\n"[..]),
        "{output:?}"
    );
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("err\n"),
        "{output:?}"
    );
    let output = daemon.remit(&user_a(), &["--json", "run", "--", "echo", "text"]);
    let json: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(
        (&json["stdout"], &json["exit"], &json["state"]),
        (&"text\n".into(), &0.into(), &"exited".into())
    );
    assert!(
        json["enforced"]["walls"]
            .as_array()
            .is_some_and(|walls| walls.len() > 5),
        "{json}"
    );
    daemon.stop();
}
