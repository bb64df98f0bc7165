//! Tests the verbs on admin.sock.

use remit_common::admin::{AdminReply, AdminRequest, RecentRefusal, Reloaded, Status};
use remit_common::refusal::{Code, Refusal};

use crate::fake::Fake;

fn status() -> Status {
    Status {
        release: "9.9".into(),
        kernel: "6.1.0".into(),
        uptime_ms: 14_520_000,
        policy: "sha256:ab".into(),
        rules: 3,
        policy_error: Some("'/etc/remit/policy.d/x.toml':1:1: unknown key\n  1 | x".into()),
        policy_warnings: vec!["'/etc/remit/policy.d/y': it is not read".into()],
        needs_restart: vec!["jobs.max".into(), "audit.sink".into()],
        locked: Some("incident 7".into()),
        locked_by: Some("root".into()),
        locked_ms: Some(951_782_399_500),
        jobs: 2,
        max_jobs: 64,
        queued: 5,
        stuck: 1,
        sessions: 3,
        limits: vec!["runtime 300 s".into(), "tasks 256 (cgroup)".into()],
        audit: "journald".into(),
        audit_error: Some("nobody listens".into()),
        landlock: 0,
        cgroup: Some("/sys/fs/cgroup/remit".into()),
        controllers: vec!["memory".into(), "pids".into()],
        broker_restarts: 1,
        refused: vec!["read: nosuid does not hold".into()],
        missing: vec!["landlock".into()],
        refusals: vec![RecentRefusal {
            at_ms: 951_782_399_500,
            user: Some("alice".into()),
            code: Code::DeniedRule,
            message: "no rule allows\x1b it".into(),
        }],
        pending: 2,
        grants: 1,
    }
}

#[test]
fn status_is_one_screen() {
    let (fake, heard) = Fake::admin(AdminReply::Status(Box::new(status())));
    let said = fake.output(&["status"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert_eq!(heard.recv().unwrap(), AdminRequest::Status);
    let lines: Vec<String> = said
        .text()
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        lines,
        [
            "remitd 9.9 on Linux 6.1.0",
            "health locked, so nothing runs; the audit log fails, so nothing runs; a sandbox layer does not hold: \
             remit doctor; the policy files have errors; the old policy is in force",
            "up for 4 h 2 min",
            "policy sha256:ab",
            "rules 3",
            "not live '/etc/remit/policy.d/x.toml':1:1: unknown key",
            "1 | x",
            "warning '/etc/remit/policy.d/y': it is not read",
            "changed jobs.max, audit.sink: systemctl restart remitd",
            "locked by root at 2000-02-28 23:59:59 UTC: incident 7",
            "refused read: nosuid does not hold",
            "jobs 2 of 64",
            "queued 5",
            "pending 2 waiting for approval: remit pending",
            "grants 1 temporary: remit grants",
            "stuck 1 ended, but the kernel cannot end a process; each occupies a slot",
            "sessions 3",
            "limits runtime 300 s",
            "tasks 256 (cgroup)",
            "audit journald: nobody listens",
            "landlock none in this kernel",
            "cgroup /sys/fs/cgroup/remit",
            "controllers memory pids",
            "broker restarts: 1",
            "missing landlock",
            "refusal 2000-02-28 23:59:59 UTC alice: no rule allows\\x1b it (denied_rule)",
        ]
    );
    let json = fake.output(&["status", "--json"]).json();
    assert_eq!(json["locked"], "incident 7");
    assert_eq!(json["broker_restarts"], 1);
}

#[test]
fn each_verb_asks_for_its_own() {
    let (fake, heard) = Fake::admin(AdminReply::Done("it is done".into()));
    let lock = |kill| AdminRequest::Lock {
        why: "incident 7".into(),
        kill,
    };
    for (args, request) in [
        (&["lock", "-m", "incident 7"][..], lock(false)),
        (&["lock", "--message", "incident 7", "--kill"], lock(true)),
        (&["unlock"], AdminRequest::Unlock),
    ] {
        let said = fake.output(args);
        assert_eq!(
            (said.status, said.text()),
            (Some(0), "it is done\n"),
            "{args:?}"
        );
        assert_eq!(heard.recv().unwrap(), request);
    }
    let json = fake.output(&["--json", "unlock"]).json();
    assert_eq!(json, serde_json::json!({ "done": "it is done" }));
}

fn reloaded(changes: &[&str], more_changes: u32) -> Reloaded {
    Reloaded {
        policy: "ab12".into(),
        rules: 7,
        commands: 2,
        changes: changes.iter().map(|line| (*line).to_owned()).collect(),
        more_changes,
        warnings: vec!["/p/20.toml:3:7: warning: there is no user 'x'\n  3 | to".into()],
        notes: vec!["jobs.max counts after a restart".into()],
    }
}

#[test]
fn a_reload_tells_what_it_changed() {
    let reply = reloaded(&["%ops gains run", "ann loses nginx.\x1b*"], 3);
    let (fake, heard) = Fake::admin(AdminReply::Reloaded(reply));
    let said = fake.output(&["policy", "reload"]);
    assert_eq!(heard.recv().unwrap(), AdminRequest::Reload);
    let expect = "\
policy ab12 is in force
  rules        7
  commands     2
what it means now and did not before:
  %ops gains run
  ann loses nginx.\\x1b*
  … and 3 more
/p/20.toml:3:7: warning: there is no user 'x'
  3 | to
note: jobs.max counts after a restart
";
    assert_eq!((said.status, said.text()), (Some(0), expect));
    let json = fake.output(&["--json", "policy", "reload"]).json();
    assert_eq!(json["changes"][0], "%ops gains run");
    assert_eq!(
        (&json["rules"], &json["more_changes"]),
        (&7.into(), &3.into())
    );

    let (fake, _heard) = Fake::admin(AdminReply::Reloaded(reloaded(&[], 0)));
    let said = fake.output(&["policy", "reload", "--quiet"]);
    assert_eq!((said.status, said.text()), (Some(0), ""));
    let said = fake.output(&["policy", "reload"]);
    assert!(
        said.text()
            .contains("\nnothing that it means has changed\n"),
        "{said:?}"
    );
}

#[test]
fn refusal_or_wrong_answer_fails() {
    let refusal = Refusal::new(Code::InvalidArgs, "policy has an error");
    let (fake, _heard) = Fake::admin(AdminReply::Refused(refusal));
    let said = fake.output(&["policy", "reload"]);
    assert_eq!(said.status, Some(125));
    assert_eq!(said.stderr, "remit: policy has an error (invalid_args)\n");

    let (fake, _heard) = Fake::admin(AdminReply::Done("x".into()));
    for args in [
        &["status"][..],
        &["pending"],
        &["show", "7f3a"],
        &["grants"],
        &["grant", "root", "x", "--for", "1h"],
    ] {
        assert_eq!(fake.output(args).status, Some(69), "{args:?}");
    }
}
