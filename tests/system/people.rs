//! Use of `remit` by root, administrators and approvers.

use std::process::Output;
use std::thread;

use remit_common::admin::{AdminReply, AdminRequest, PendingView};
use remit_common::hex::hex;
use remit_common::names::JobId;
use remit_tests::caller::{Caller, at_once, change};
use remit_tests::daemon::{ADMIN_GROUP, Daemon, Options, admin, stranger, user_a};
use remit_tests::process::Identity;
use remit_wire::outcome::State;
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

/// An administrator outside the group that may connect.
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

fn asked(daemon: &Daemon, name: &str) -> (JobId, PendingView) {
    let mut caller = Caller::new(daemon, &user_a());
    let report = caller
        .run(at_once(change(name, &[])))
        .expect("it may be asked for");
    assert_eq!(report.state, State::AwaitingApproval, "{report:?}");
    (report.job, daemon.pending_request(report.job))
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
    let refused = daemon.remit(&stranger(), &["run", "--", "true"]);
    assert_eq!(refused.status.code(), Some(77), "{refused:?}");
    // Permission to connect is no permission to run; only the policy gives that.
    let other = Identity::new(64_010, &[ADMIN_GROUP]);
    let denied = daemon.remit(&other, &["run", "--", "true"]);
    assert_eq!(denied.status.code(), Some(125), "{denied:?}");
    daemon.stop();
}

#[test]
fn n05_root_refusal_suggests_try() {
    let daemon = started();
    let root = Identity::new(0, &[]);
    let (status, _, stderr) = said(&daemon.remit(&root, &["run", "--", "true"]));
    assert_eq!(status, Some(125), "{stderr}");
    assert!(stderr.contains("remit try -- COMMAND"), "{stderr}");
    assert!(!stderr.contains("ask an administrator"), "{stderr}");
    let tried = daemon.remit(&root, &["try", "--", "echo", "yes"]);
    assert_eq!(tried.stdout, b"yes\n", "{tried:?}");
    daemon.stop();
}

#[test]
fn n06_approve_reports_status_after_end() {
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
    for user in [admin(), ann()] {
        let shown = daemon.remit(&user, &["show", &job.short()]);
        let (status, page, stderr) = said(&shown);
        assert_eq!(status, Some(0), "{stderr}");
        assert!(page.contains("exited by itself with status 3"), "{page}");
    }
    let shown = daemon.remit(&user_a(), &["show", &job.short()]);
    assert_eq!(shown.status.code(), Some(77), "{shown:?}");
    daemon.stop();
}

#[test]
fn n06_no_wait_returns_early_and_wait_reports_stop() {
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
    for user in [admin(), user_a()] {
        let (_, table, stderr) = said(&daemon.remit(&user, &["jobs"]));
        for (job, word) in [(denied, "denied"), (void, "void")] {
            let line = table.lines().find(|line| line.contains(&job.to_string()));
            let words: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
            assert!(words.contains(&word), "{table} {stderr}");
        }
    }
    daemon.stop();
}

#[test]
fn n31_administrator_history_covers_all_users() {
    let daemon = started();
    asked(&daemon, "site.switch");
    let history = |user: &Identity, args: &[&str]| -> Value {
        let output = daemon.remit(user, &[&["--json", "history"], args].concat());
        serde_json::from_slice(&output.stdout).expect("one object")
    };
    let count = |page: Value| page["entries"].as_array().map_or(0, Vec::len);
    assert_eq!(count(history(&ann(), &[])), 1);
    assert_eq!(count(history(&ann(), &["--mine"])), 0);
    assert_eq!(count(history(&user_a(), &[])), 1);
    daemon.stop();
}
