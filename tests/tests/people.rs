//! What the people of a machine can do with `remit`: root, administrators, approvers.

// A test stops at the first surprise; clippy knows that only of functions marked as tests.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::process::Output;
use std::thread;

use remit_common::admin::{AdminReply, AdminRequest, PendingView};
use remit_common::names::JobId;
use remit_common::outcome::State;
use remit_tests::caller::{Caller, at_once, change};
use remit_tests::daemon::{ADMIN_GROUP, Daemon, Options, admin, stranger, user_a};
use remit_tests::process::Identity;
use serde_json::Value;

const POLICY: &str = r##"
[[command]]
name = "site.switch"
summary = "switches"
argv = ["/usr/bin/sh", "-c", "exit 3"]
effect = "change"
profile = "strict"

[[command]]
name = "site.wait"
summary = "waits"
argv = ["/usr/bin/sleep", "60"]
effect = "change"
profile = "strict"

[[grant]]
name = "asks"
to = ["#64001"]
allow = ["site.*"]
effect = "change"
approval = { by = ["#64005"], expires = "10min" }

[[grant]]
name = "looks"
to = ["#64009"]
allow = ["run"]
profile = "read"
"##;

/// An administrator who is not in the group of those who may connect.
fn ann() -> Identity {
    Identity::new(64_009, &[ADMIN_GROUP])
}

fn started() -> Daemon {
    Daemon::start(Options {
        policy: POLICY.to_owned(),
        waiting: 200,
        ..Options::default()
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    (output.status.code(), stdout, stderr)
}

/// User A asks for a change, and how approvers see it.
fn asked(daemon: &Daemon, name: &str) -> (JobId, PendingView) {
    let mut caller = Caller::new(daemon, &user_a());
    let report = caller
        .run(at_once(change(name, &[])))
        .expect("it may be asked for");
    assert_eq!(report.state, State::AwaitingApproval, "{report:?}");
    match daemon.administers(&admin(), AdminRequest::Pending { seen: None }) {
        Ok(AdminReply::Pending { requests, .. }) => {
            let mut requests = requests.into_iter();
            let view = requests.find(|view| view.job == report.job);
            (report.job, view.expect("it waits"))
        }
        other => panic!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn n05_an_administrator_connects_without_the_group_of_clients() {
    let daemon = started();
    let run = daemon.remit(&ann(), &["run", "--", "echo", "yes"]);
    assert_eq!(
        (run.status.code(), run.stdout.as_slice()),
        (Some(0), &b"yes\n"[..]),
        "{run:?}"
    );
    // The access control list opens the socket to nobody else.
    let refused = daemon.remit(&stranger(), &["run", "--", "true"]);
    assert_eq!(refused.status.code(), Some(77), "{refused:?}");
    // Who may connect may not for that reason run: policy says so, and only that.
    let other = Identity::new(64_010, &[ADMIN_GROUP]);
    let denied = daemon.remit(&other, &["run", "--", "true"]);
    assert_eq!(denied.status.code(), Some(125), "{denied:?}");
    daemon.stop();
}

#[test]
fn n05_root_is_sent_to_try_and_to_no_administrator() {
    let daemon = started();
    let root = Identity::new(0, &[]);
    let (status, _, stderr) = said(&daemon.remit(&root, &["run", "--", "true"]));
    assert_eq!(status, Some(125), "{stderr}");
    assert!(stderr.contains("remit try -- COMMAND"), "{stderr}");
    assert!(!stderr.contains("ask an administrator"), "{stderr}");
    // What it is sent to works.
    let tried = daemon.remit(&root, &["try", "--", "echo", "yes"]);
    assert_eq!(tried.stdout, b"yes\n", "{tried:?}");
    daemon.stop();
}

#[test]
fn n06_approve_waits_for_the_end_and_tells_the_status() {
    let daemon = started();
    let (job, view) = asked(&daemon, "site.switch");
    let digest = hex(&view.digest);
    let approved = daemon.remit(
        &admin(),
        &["approve", &job.to_string(), "--digest", &digest],
    );
    let (status, stdout, stderr) = said(&approved);
    assert_eq!(status, Some(0), "{stderr}");
    assert!(stdout.contains("has started\n"), "{stdout}");
    assert!(
        stdout.contains("exited by itself with status 3"),
        "{stdout}"
    );
    // The same afterwards, by the beginning of its id, also for an administrator outside the group of clients.
    for who in [admin(), ann()] {
        let shown = daemon.remit(&who, &["show", &job.short()]);
        let (status, page, stderr) = said(&shown);
        assert_eq!(status, Some(0), "{stderr}");
        assert!(page.contains("exited by itself with status 3"), "{page}");
    }
    // Who is no administrator is not told.
    let shown = daemon.remit(&user_a(), &["show", &job.short()]);
    assert_eq!(shown.status.code(), Some(77), "{shown:?}");
    daemon.stop();
}

#[test]
fn n06_no_wait_answers_while_it_runs_and_a_wait_hears_of_a_stop() {
    let daemon = started();
    let (job, view) = asked(&daemon, "site.wait");
    let digest = hex(&view.digest);
    let id = job.to_string();
    let approved = daemon.remit(
        &admin(),
        &["approve", &id, "--no-wait", "--digest", &digest],
    );
    assert_eq!(approved.status.code(), Some(0), "{approved:?}");
    let ask = |wait| AdminRequest::Job {
        id: id.clone(),
        wait,
    };
    let Ok(AdminReply::Job(now)) = daemon.administers(&admin(), ask(false)) else {
        panic!("it is known");
    };
    assert_eq!(now.state, State::Running);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| daemon.administers(&admin(), ask(true)));
        let stopped = daemon.remit(&admin(), &["stop", &id]);
        assert_eq!(stopped.status.code(), Some(0), "{stopped:?}");
        match waiting.join().expect("it was answered") {
            Ok(AdminReply::Job(job)) => assert_eq!(job.state, State::Cancelled),
            other => panic!("{other:?}"),
        }
    });
    let unknown = AdminRequest::Job {
        id: "0".repeat(32),
        wait: true,
    };
    assert!(daemon.administers(&admin(), unknown).is_err());
    daemon.stop();
}

#[test]
fn n13_denied_and_void_are_two_words() {
    let daemon = started();
    let (denied, _) = asked(&daemon, "site.switch");
    let deny = AdminRequest::Deny {
        job: denied,
        why: "not now".into(),
    };
    daemon.administers(&admin(), deny).expect("it is denied");
    let (void, _) = asked(&daemon, "site.switch");
    let lock = AdminRequest::Lock {
        why: "a look".into(),
        kill: false,
    };
    daemon.administers(&admin(), lock).expect("it is locked");
    for who in [admin(), user_a()] {
        let (_, table, stderr) = said(&daemon.remit(&who, &["jobs"]));
        for (job, word) in [(denied, "denied"), (void, "void")] {
            let line = table.lines().find(|line| line.contains(&job.to_string()));
            let words: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
            assert!(words.contains(&word), "{table} {stderr}");
        }
    }
    daemon.stop();
}

#[test]
fn n31_history_is_everybodys_for_an_administrator_as_jobs_is() {
    let daemon = started();
    asked(&daemon, "site.switch");
    let history = |who: &Identity, args: &[&str]| -> Value {
        let output = daemon.remit(who, &[&["--json", "history"], args].concat());
        serde_json::from_slice(&output.stdout).expect("one object")
    };
    let count = |page: Value| page["entries"].as_array().map_or(0, Vec::len);
    assert_eq!(count(history(&ann(), &[])), 1);
    assert_eq!(count(history(&ann(), &["--mine"])), 0);
    assert_eq!(count(history(&user_a(), &[])), 1);
    daemon.stop();
}
