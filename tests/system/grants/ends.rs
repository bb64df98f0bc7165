//! How a temporary grant expires.

use std::fs;
use std::time::{Duration, Instant};

use remit_common::outcome::State;
use remit_common::refusal::Code;
use remit_tests::caller::{Caller, at_once, change};
use remit_tests::daemon::{Daemon, Options, admin, user_a};

use super::scene::{
    changes, file, give, give_as, listed, options, reloads, runs, started, status, to_a,
};

#[test]
fn uses_run_out() {
    let daemon = started();
    let mut new = to_a("site.*");
    new.uses = Some(2);
    give(&daemon, new);
    assert!(reloads(&daemon));
    assert_eq!(listed(&daemon)[0].uses_left, Some(1));
    assert!(runs(&daemon, &user_a(), "site.switch", &[("to", "blue")]));
    assert_eq!((listed(&daemon), status(&daemon).grants), (Vec::new(), 0));
    assert!(!reloads(&daemon));
    assert_eq!(daemon.records("intent").len(), 2);
    daemon.stop();
}

#[test]
fn a_refused_request_takes_no_use() {
    let daemon = started();
    let mut new = to_a("site.*");
    new.uses = Some(1);
    give(&daemon, new);
    let refused = changes(&daemon, &user_a(), "site.switch", &[("to", "BLUE")]);
    assert_eq!(
        refused.expect_err("it is no such value").code,
        Code::InvalidArgs
    );
    assert_eq!(listed(&daemon)[0].uses_left, Some(1));
    assert!(reloads(&daemon) && !reloads(&daemon));
    daemon.stop();
}

#[test]
fn time_runs_out_and_that_is_recorded() {
    let daemon = started();
    let mut new = to_a("site.reload");
    new.for_s = 2;
    let start = Instant::now();
    let grant = give(&daemon, new);
    assert!(reloads(&daemon) || start.elapsed() > Duration::from_secs(2));
    let expired = loop {
        if let Some(record) = daemon.records("expired").pop() {
            break record;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(start.elapsed() >= Duration::from_secs(2));
    assert_eq!(expired["REMIT_GRANT"], grant.to_string());
    assert_eq!((listed(&daemon), status(&daemon).grants), (Vec::new(), 0));
    assert!(!reloads(&daemon));
    daemon.stop();
}

#[test]
fn queued_job_ends_with_its_grant() {
    let daemon = Daemon::start(Options {
        jobs: 1,
        ..options()
    });
    let mut new = to_a("site.*");
    new.for_s = 3;
    give(&daemon, new);
    let mut a = Caller::new(&daemon, &user_a());
    let runs = a
        .run(at_once(change("site.wait", &[])))
        .expect("it is given");
    let queued = a
        .run(at_once(change("site.reload", &[])))
        .expect("it is given");
    assert_eq!((runs.state, queued.state), (State::Running, State::Queued));
    let ended = a.end_of(queued.job);
    assert_eq!(ended.state, State::Denied, "{ended:?}");
    let ending = ended.ending.expect("it has ended");
    assert_eq!(ending.code, Some(Code::ApprovalVoid), "{ending:?}");
    assert!(ending.cause.contains("time is over"), "{ending:?}");
    assert_eq!(
        a.job(runs.job, 0).expect("it is ours").state,
        State::Running
    );
    assert_eq!(daemon.records("intent").len(), 1);
    daemon.stop();
}

/// A use that is not saved could be used again after a restart, so nothing runs.
#[test]
fn where_a_use_cannot_be_saved_nothing_runs() {
    let daemon = started();
    let mut new = to_a("site.reload");
    new.uses = Some(5);
    give(&daemon, new.clone());
    let blocked = file(&daemon).with_extension("new");
    fs::create_dir(&blocked).expect("the directory is writable");
    let refusal = changes(&daemon, &user_a(), "site.reload", &[]).expect_err("it cannot be saved");
    assert_eq!(refusal.code, Code::NotStarted, "{refusal:?}");
    assert!(refusal.message.contains("cannot save"), "{refusal:?}");
    assert_eq!(daemon.records("intent").len(), 0);
    assert_eq!(listed(&daemon)[0].uses_left, Some(5));

    let refusal = give_as(&daemon, &admin(), new).expect_err("it cannot be saved");
    assert_eq!(refusal.code, Code::NotStarted, "{refusal:?}");
    assert_eq!(listed(&daemon).len(), 1);
    fs::remove_dir(&blocked).expect("it is ours");
    assert!(reloads(&daemon));
    daemon.stop();
}
