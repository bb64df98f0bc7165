//! A command of the policy notifies people about requests that wait.

use std::fs;
use std::time::{Duration, Instant};

use remit_tests::daemon::{Daemon, Options};
use serde_json::Value;

use crate::approvals::scene::{POLICY, asked, options};

const TELLS: &str = r#"
[[command]]
name = "people.tell"
summary = "passes on what it reads"
argv = ["/usr/bin/cat"]
effect = "change"
profile = "strict"
stdin = "caller"
"#;

fn daemon(notify: &str) -> Daemon {
    Daemon::start(Options {
        policy: format!("{POLICY}{TELLS}"),
        config: format!("[approval]\nnotify = \"{notify}\"\n"),
        ..options()
    })
}

fn own(daemon: &Daemon, event: &str) -> Value {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let records = daemon.records(event);
        let found = records
            .iter()
            .find(|record| record["REMIT_USER"] == "remitd");
        match found {
            Some(record) => return record.clone(),
            None => assert!(Instant::now() < end, "{records:?}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn notify_command_gets_request_as_json() {
    let daemon = daemon("people.tell");
    let (_caller, job, view) = asked(&daemon);
    let (intent, end) = (own(&daemon, "intent"), own(&daemon, "end"));
    assert_eq!(intent["REMIT_RULE"], "approval.notify of remit.toml");
    assert_eq!(intent["REMIT_PROFILE"], "strict");
    assert_eq!(
        (&end["REMIT_JOB"], &end["REMIT_EXIT"]),
        (&intent["REMIT_JOB"], &"0".into())
    );
    let id = intent["REMIT_JOB"].as_str().expect("it is a job");
    let path = daemon.path().join(format!("state/spool/{id}.out"));
    let request: Value = serde_json::from_slice(&fs::read(path).expect("it wrote")).expect("JSON");
    assert_eq!(request["id"], job.to_string());
    assert_eq!(request["command"], "site.switch to=blue");
    assert_eq!(
        (&request["line"], &request["digest"]),
        (&view.line.into(), &view.digest.into())
    );
    assert_eq!(request["by"][1], "%#64400");
    assert_eq!(
        request["expires_ms"]
            .as_u64()
            .map(|ms| ms.abs_diff(view.expires_ms) < 5000),
        Some(true)
    );
    daemon.stop();
}

#[test]
fn without_notify_command_request_is_only_pending() {
    let daemon = daemon("");
    let (_caller, ..) = asked(&daemon);
    assert!(daemon.records("intent").is_empty());
    daemon.stop();
}
