//! Runs that start by an approval.

use remit_common::admin::{AdminReply, AdminRequest};
use remit_common::refusal::Code;
use remit_tests::caller::{Caller, argv, at_once, change, stdout};
use remit_tests::daemon::{Daemon, Options, admin, user_a, user_b};
use remit_wire::outcome::State;

use super::scene::{about, approve, approve_as, asked, asks, events, listed, options, started};

#[test]
fn approved_request_runs_with_one_digest_everywhere() {
    let daemon = started();
    let (mut caller, job, view) = asked(&daemon);
    let listed = listed(&daemon, job);
    assert_eq!(view.by, listed.by);
    assert_eq!(listed.reason, "a test");
    assert!(
        listed.yours && listed.command.contains("to=blue"),
        "{listed:?}"
    );
    assert!(
        listed.left_ms > 590_000 && listed.left_ms <= 600_000,
        "{listed:?}"
    );
    let id = job.to_string();
    assert_eq!(
        view.line,
        format!("remit approve {}-{}", &id[..4], &id[4..8])
    );
    assert_eq!(
        (daemon.status().pending, events(&daemon, job)),
        (1, vec!["asked".to_owned()])
    );
    let done = approve(&daemon, job).expect("the approver can");
    assert!(done.contains("has started"), "{done}");
    let report = caller.end_of(job);
    assert_eq!(
        (report.state, stdout(&report).as_str()),
        (State::Exited, "[blue]"),
        "{report:?}"
    );
    assert_eq!(report.approval, None);
    assert_eq!(events(&daemon, job), ["asked", "approved", "intent", "end"]);
    for record in about(&daemon, job) {
        assert_eq!(record["REMIT_DIGEST"], view.digest, "{record}");
        assert_eq!(record["REMIT_USER"], "#64001", "{record}");
    }
    let approved = &daemon.records("approved")[0];
    assert_eq!(approved["REMIT_APPROVER"], "#64005");
    assert_eq!(approved["REMIT_APPROVER_UID"], "64005");
    let rule = daemon.records("intent")[0]["REMIT_RULE"].to_string();
    assert!(rule.contains("approved by #64005"), "{rule}");
    assert_eq!(daemon.status().pending, 0);
    daemon.stop();
}

#[test]
fn a_caller_can_wait_through_approval_and_run() {
    let daemon = started();
    let runner = {
        let mut caller = Caller::new(&daemon, &user_a());
        std::thread::spawn(move || caller.run(change("site.switch", &[("to", "red")])))
    };
    super::scene::until("it is not asked for", || daemon.status().pending == 1);
    let job = daemon.pending(&admin())[0].job;
    approve(&daemon, job).expect("the approver can");
    let report = runner.join().expect("no panic").expect("it runs");
    let report = match report.state {
        // The first answer may report the wait; the client then asks again.
        State::AwaitingApproval => Caller::new(&daemon, &user_a()).end_of(job),
        _ => report,
    };
    assert_eq!(
        (report.job, report.state),
        (job, State::Exited),
        "{report:?}"
    );
    daemon.stop();
}

#[test]
fn approval_covers_one_run_and_digest() {
    let daemon = started();
    let (mut caller, job, _) = asked(&daemon);
    let digest = listed(&daemon, job).digest;
    let (other, _) = asks(&mut caller, "site.switch", &[("to", "blue")]);
    let others = listed(&daemon, other).digest;
    assert_ne!(digest, others, "the same asked for twice is two requests");
    let mut near = digest;
    near[31] ^= 1;
    for wrong in [others, near, [0; 32], [0xff; 32]] {
        let refusal = approve_as(&daemon, &admin(), job, wrong).expect_err("it is wrong");
        assert_eq!(refusal.code, Code::InvalidArgs, "{refusal:?}");
    }
    for guess in 0..200_u8 {
        assert!(approve_as(&daemon, &admin(), job, [guess; 32]).is_err());
    }
    assert_eq!(events(&daemon, job), ["asked"]);
    assert!(approve_as(&daemon, &admin(), job, digest).is_ok());
    assert_eq!(caller.end_of(job).state, State::Exited);
    // A replay approves nothing, like an unknown id, and says why. So does the other request with this digest.
    let replayed = approve_as(&daemon, &admin(), job, digest).expect_err("it ran");
    let text = format!(
        "job {} is not waiting for an approval: it has ended",
        job.short()
    );
    assert_eq!((replayed.code, replayed.message), (Code::NotFound, text));
    assert!(approve_as(&daemon, &admin(), other, digest).is_err());
    assert_eq!(daemon.records("intent").len(), 1);
    daemon.stop();
}

#[test]
fn approved_request_is_queued_without_free_slot() {
    let daemon = Daemon::start(Options {
        jobs: 1,
        ..options()
    });
    let mut other = Caller::new(&daemon, &user_b());
    let holder = other
        .run(at_once(argv(&["sleep", "50"])))
        .expect("B may run");
    let (mut caller, job, view) = asked(&daemon);
    let done = approve(&daemon, job).expect("the approver can");
    assert!(done.contains("is queued"), "{done}");
    let report = caller.job(job, 0).expect("it is ours");
    assert_eq!((report.state, report.approval), (State::Queued, None));
    other.stop(holder.job).expect("it is B's");
    let report = caller.end_of(job);
    assert_eq!(report.state, State::Exited, "{report:?}");
    assert_eq!(about(&daemon, job)[2]["REMIT_DIGEST"], view.digest);
    daemon.stop();
}

#[test]
fn missing_program_is_refused_without_request() {
    let daemon = started();
    let mut caller = Caller::new(&daemon, &user_a());
    let refusal = caller
        .run(at_once(change("all.missing", &[])))
        .expect_err("it is not there");
    assert_eq!(refusal.code, Code::NotStarted, "{refusal:?}");
    assert!(
        refusal.message.contains("no-such-program-of-remit"),
        "{refusal:?}"
    );
    assert_eq!(
        (daemon.status().pending, daemon.records("asked").len()),
        (0, 0)
    );
    assert_eq!(daemon.records("refusal").len(), 1);
    daemon.stop();
}

#[test]
fn pending_list_watch_returns_on_change() {
    let daemon = started();
    let Ok(AdminReply::Pending {
        state, requests, ..
    }) = daemon.administers(&admin(), AdminRequest::Pending { seen: None })
    else {
        panic!("no list");
    };
    assert_eq!(requests, []);
    let socket = daemon.runtime().admin_socket();
    let watches = std::thread::spawn(move || {
        admin().adopt().expect("the tests run as root");
        remit_wire::client::admin(&socket, AdminRequest::Pending { seen: Some(state) })
    });
    let (_caller, job, _) = asked(&daemon);
    match watches.join().expect("no panic") {
        Ok(AdminReply::Pending {
            state: new,
            requests,
            ..
        }) => {
            assert_ne!(new, state);
            assert_eq!((requests.len(), requests[0].job), (1, job));
        }
        other => panic!("{other:?}"),
    }
    daemon.stop();
}

#[test]
fn repeated_request_id_returns_same_request() {
    let daemon = started();
    let mut caller = Caller::new(&daemon, &user_a());
    let mut run = at_once(change("site.switch", &[("to", "blue")]));
    run.request_id = Some("once".into());
    let first = caller.run(run.clone()).expect("it may be asked for");
    let second = caller.run(run).expect("it is the same");
    assert_eq!(first.job, second.job);
    assert_eq!(
        (second.state, daemon.status().pending),
        (State::AwaitingApproval, 1)
    );
    daemon.stop();
}
