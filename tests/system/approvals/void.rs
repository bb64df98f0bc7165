//! A request does not run if anything has changed since it was made or approved.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::Signal;
use remit_common::admin::{AdminReply, AdminRequest};
use remit_common::refusal::Code;
use remit_tests::caller::{Caller, argv, at_once, cause};
use remit_tests::daemon::{Daemon, Options, admin, user_a, user_b};
use remit_wire::outcome::State;

use super::scene::{
    POLICY, approve, approve_as, asked, asks, code, deny, does, events, listed, options, started,
};

fn is_void(caller: &mut Caller, job: remit_common::names::JobId, why: &str) {
    let report = caller.end_of(job);
    assert_eq!(
        (report.state, code(&report)),
        (State::Denied, "approval_void"),
        "{report:?}"
    );
    assert!(cause(&report).contains(why), "{report:?}");
    assert!(report.ending.expect("it ended").next.is_some());
}

fn edit_policy(daemon: &Daemon) {
    let text = format!("{POLICY}\n# another comment\n");
    daemon.set_file("config/policy.d/10-test.toml", &text);
    assert_eq!(voided(daemon), [format!("{VOID}: 1")]);
    assert_eq!(voided(daemon), Vec::<String>::new());
}

const VOID: &str = "requests that this load made void";

/// Loads the policy. Returns what the answer says of requests that it ended.
fn voided(daemon: &Daemon) -> Vec<String> {
    let reloaded = match does(daemon, AdminRequest::Reload) {
        AdminReply::Reloaded(reloaded) => reloaded,
        other => panic!("{other:?}"),
    };
    let notes = reloaded.notes.into_iter();
    notes.filter(|note| note.starts_with(VOID)).collect()
}

#[test]
fn new_policy_voids_pending_request() {
    let daemon = started();
    let (mut caller, job, _) = asked(&daemon);
    let digest = listed(&daemon, job).digest;
    assert!(matches!(
        does(&daemon, AdminRequest::Reload),
        AdminReply::Reloaded(_)
    ));
    assert_eq!(daemon.status().pending, 1);
    edit_policy(&daemon);
    assert_eq!(daemon.status().pending, 0);
    is_void(&mut caller, job, "the policy has changed");
    assert_eq!(events(&daemon, job), ["asked", "void"]);
    let refused = [
        approve_as(&daemon, &admin(), job, digest).expect_err("it is void"),
        deny(&daemon, &admin(), job, "no").expect_err("it is void"),
    ];
    for refusal in refused {
        let text = format!(
            "job {} is not waiting for an approval: the policy has changed; it never ran",
            job.short()
        );
        assert_eq!((refusal.code, refusal.message), (Code::NotFound, text));
    }
    let unknown = remit_common::names::JobId([7; 16]);
    let refusal = approve_as(&daemon, &admin(), unknown, digest).expect_err("nobody asked");
    assert!(
        refusal.message.contains("no request with this id"),
        "{refusal:?}"
    );
    daemon.stop();
}

#[test]
fn new_policy_voids_approved_queued_request() {
    let daemon = Daemon::start(Options {
        jobs: 1,
        ..options()
    });
    let mut other = Caller::new(&daemon, &user_b());
    let holder = other
        .run(at_once(argv(&["sleep", "50"])))
        .expect("B may run");
    let (mut caller, job, _) = asked(&daemon);
    approve(&daemon, job).expect("the approver can");
    edit_policy(&daemon);
    is_void(&mut caller, job, "the policy has changed");
    assert_eq!(events(&daemon, job), ["asked", "approved", "end"]);
    other.stop(holder.job).expect("it is B's");
    daemon.stop();
}

#[test]
fn lock_voids_pending_request_and_refuses_approval() {
    let daemon = started();
    let (mut caller, job, _) = asked(&daemon);
    let digest = listed(&daemon, job).digest;
    let lock = AdminRequest::Lock {
        why: "incident 7".into(),
        kill: false,
    };
    match does(&daemon, lock) {
        AdminReply::Done(text) => assert!(text.contains("void: 1"), "{text}"),
        other => panic!("{other:?}"),
    }
    let refusal = approve_as(&daemon, &admin(), job, digest).expect_err("it is locked");
    assert_eq!(refusal.code, Code::Locked);
    is_void(&mut caller, job, "locked remit");
    let _ = does(&daemon, AdminRequest::Unlock);
    assert!(approve_as(&daemon, &admin(), job, digest).is_err());
    assert_eq!(daemon.records("intent").len(), 0);
    daemon.stop();
}

#[test]
fn pending_request_is_void_after_any_daemon_end() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let mut daemon = started();
        let (caller, job, _) = asked(&daemon);
        let digest = listed(&daemon, job).digest;
        drop(caller);
        match signal {
            Signal::SIGTERM => daemon.restart_cleanly(),
            _ => {
                daemon.signal(signal);
                daemon.restart_insistently();
            }
        }
        assert_eq!(daemon.status().pending, 0);
        let mut caller = Caller::new(&daemon, &user_a());
        let report = caller.end_of(job);
        assert_eq!(code(&report), "approval_void", "{report:?}");
        assert!(approve_as(&daemon, &admin(), job, digest).is_err());
        let last = match signal {
            Signal::SIGTERM => "void",
            _ => "interrupted",
        };
        assert_eq!(events(&daemon, job), ["asked", last]);
        daemon.stop();
    }
}

#[test]
fn replaced_script_voids_request() {
    let dir = nix::unistd::mkdtemp("/run/remit-approvals-XXXXXX").expect("/run is root's");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let script = dir.join("change.sh");
    let write = |text: &str| {
        fs::write(&script, text).expect("it is ours");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it is ours");
    };
    write("#!/bin/sh\necho before\n");
    let policy = POLICY.replace("/usr/bin/true", &script.display().to_string());
    let daemon = Daemon::start(Options {
        policy,
        ..options()
    });
    let mut caller = Caller::new(&daemon, &user_a());
    let (job, _) = asks(&mut caller, "all.change", &[]);
    write("#!/bin/sh\necho after!\n");
    let refusal = approve(&daemon, job).expect_err("it was replaced");
    assert_eq!(refusal.code, Code::ApprovalVoid, "{refusal:?}");
    assert!(refusal.message.contains("change.sh"), "{refusal:?}");
    is_void(&mut caller, job, "change.sh");
    assert_eq!(events(&daemon, job), ["asked", "void"]);
    let (job, _) = asks(&mut caller, "all.change", &[]);
    approve(&daemon, job).expect("the approver can");
    let report = caller.end_of(job);
    assert_eq!(
        remit_tests::caller::stdout(&report),
        "after!\n",
        "{report:?}"
    );
    daemon.stop();
    fs::remove_dir_all(&dir).expect("it is ours");
}
