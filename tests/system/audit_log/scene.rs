//! Helpers of these tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use remit_common::admin::{AdminReply, AdminRequest};
use remit_tests::caller::{Caller, argv};
use remit_tests::daemon::{Daemon, Options, user_a};
use remit_tests::process::ends_within;
use remit_tests::test_dir::built;
use serde_json::Value;

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
    let (_, value) = verified(files, expect);
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
            let hex: String = head.hash.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{}:{hex}", head.seq)
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
    assert!(ends_within(daemon.pid(), 10_000));
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
