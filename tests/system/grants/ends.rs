//! How a temporary grant expires or is revoked: nothing starts after the answer.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use remit_common::admin::AdminRequest;
use remit_common::refusal::Code;
use remit_tests::accounts::{Accounts, HeldDirectory};
use remit_tests::caller::{Caller, argv, at_once, change};
use remit_tests::daemon::{Daemon, Options, admin, user_a, user_b};
use remit_tests::process::Identity;
use remit_wire::outcome::State;
use serde_json::Value;

use super::scene::{
    GROUP, POLICY, changes, file, give, give_as, listed, options, reloads, revoke, runs, started,
    to_a, with_group,
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
    assert_eq!((listed(&daemon), daemon.status().grants), (Vec::new(), 0));
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
    assert_eq!((listed(&daemon), daemon.status().grants), (Vec::new(), 0));
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
    new.for_s = 10;
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

/// A directory service can be slow.
#[test]
fn new_grant_does_not_outlive_a_lock_or_a_revocation() {
    let lock = || AdminRequest::Lock {
        why: "a test".into(),
        kill: false,
    };
    let revoke = || AdminRequest::Revoke { grant: None };
    for (requests, code, words) in [
        (vec![lock(), AdminRequest::Unlock], Code::Locked, "a test"),
        (vec![revoke()], Code::NotStarted, "root revoked grants"),
    ] {
        let accounts = with_group("ops", GROUP, Vec::new());
        let daemon = Daemon::start(Options {
            // Of root no account is looked up when it connects.
            policy: POLICY.replace("\"#64005\"", "\"#0\""),
            accounts: Some(Accounts {
                directory: vec![("far", 64_020)],
                ..accounts
            }),
            ..options()
        });
        let root = Identity::new(0, &[]);
        let held = HeldDirectory::hold(daemon.path());
        let reply = std::thread::scope(|scope| {
            let gives = scope.spawn(|| give_as(&daemon, &root, to_a("site.reload")));
            held.until_asked();
            for request in requests {
                daemon.administers(&root, request).expect("root may");
            }
            drop(held);
            gives.join().expect("it is answered")
        });
        let refusal = reply.expect_err("it is refused");
        assert_eq!(refusal.code, code, "{refusal:?}");
        assert!(refusal.message.contains(words), "{refusal:?}");
        assert!(listed(&daemon).is_empty());
        assert!(!reloads(&daemon));
        daemon.stop();
    }
}

/// Hours can pass until a slot is free, without a load of the policy.
#[test]
fn queued_job_is_refused_once_its_giver_or_its_recipient_has_lost_the_right() {
    let all = || with_group("ops", GROUP, Vec::new());
    let without_boss = || {
        let mut accounts = all();
        for (name, _, members) in &mut accounts.groups {
            members.retain(|member| (*name, *member) != ("remit-admin", "boss"));
        }
        accounts
    };
    let without_agent = || {
        let mut accounts = all();
        accounts.users.retain(|(name, _)| *name != "agent");
        accounts
    };
    type Change<'a> = &'a dyn Fn() -> Accounts;
    let changes: [(Change<'_>, Option<&str>); 3] = [
        (
            &without_boss,
            Some("its giver can no longer approve: boss is no longer in the group"),
        ),
        (
            &without_agent,
            Some("the account of agent no longer exists"),
        ),
        (&all, None),
    ];
    for (change_of_accounts, why) in changes {
        let mut daemon = Daemon::start(Options {
            jobs: 1,
            accounts: Some(all()),
            ..options()
        });
        give(&daemon, to_a("site.reload"));
        let mut b = Caller::new(&daemon, &user_b());
        let holder = b.run(at_once(argv(&["sleep", "60"]))).expect("B may");
        let mut a = Caller::new(&daemon, &user_a());
        let queued = a
            .run(at_once(change("site.reload", &[])))
            .expect("it is given");
        assert_eq!(queued.state, State::Queued, "{queued:?}");
        daemon.set_accounts(change_of_accounts());
        b.stop(holder.job).expect("it is B's");
        let ended = a.end_of(queued.job);
        let intents = daemon.records("intent").len();
        let Some(why) = why else {
            assert_eq!((ended.state, intents), (State::Exited, 2), "{ended:?}");
            continue;
        };
        let ending = ended.ending.expect("it has ended");
        assert_eq!(
            (ended.state, ending.code, intents),
            (State::Denied, Some(Code::ApprovalVoid), 1),
            "{ending:?}"
        );
        assert!(ending.cause.contains(why), "{why}: {ending:?}");
        let is_it = |record: &Value| record["REMIT_JOB"] == queued.job.to_string();
        let end = daemon.records("end").into_iter().find(is_it);
        let end = end.expect("it is recorded");
        assert!(end["REMIT_CAUSE"].as_str().unwrap().contains(why), "{end}");
        daemon.stop();
    }
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

#[test]
fn revoking_one_or_all_is_recorded() {
    let daemon = started();
    let all: Vec<u64> = (0..3).map(|_| give(&daemon, to_a("site.reload"))).collect();
    revoke(&daemon, Some(all[1])).expect("it is there");
    let refusal = revoke(&daemon, Some(all[1])).expect_err("it is gone");
    assert_eq!(refusal.code, Code::NotFound, "{refusal:?}");
    assert!(reloads(&daemon), "two are left");
    revoke(&daemon, None).expect("they are there");
    assert!(listed(&daemon).is_empty() && !reloads(&daemon));
    let numbers: Vec<Value> = daemon
        .records("revoked")
        .iter()
        .map(|record| record["REMIT_GRANT"].clone())
        .collect();
    assert_eq!(
        numbers,
        [all[1], all[0], all[2]].map(|number| number.to_string())
    );
    daemon.stop();
}

#[test]
fn revocation_ends_queued_job_not_running_job() {
    let daemon = Daemon::start(Options {
        jobs: 1,
        waiting: 4,
        ..options()
    });
    let grant = give(&daemon, to_a("site.*"));
    let mut a = Caller::new(&daemon, &user_a());
    let runs = a
        .run(at_once(change("site.wait", &[])))
        .expect("it is given");
    let queued = a
        .run(at_once(change("site.reload", &[])))
        .expect("it is given");
    assert_eq!((runs.state, queued.state), (State::Running, State::Queued));
    revoke(&daemon, Some(grant)).expect("it is there");
    let ended = a.job(queued.job, 0).expect("it is ours");
    assert_eq!(ended.state, State::Denied, "{ended:?}");
    let ending = ended.ending.expect("it has ended");
    assert!(ending.cause.contains("revoked the grant"), "{ending:?}");
    assert_eq!(ending.code, Some(Code::ApprovalVoid), "{ending:?}");
    assert!(ending.next.is_some(), "{ending:?}");
    assert_eq!(
        a.job(runs.job, 0).expect("it is ours").state,
        State::Running
    );
    assert_eq!(daemon.records("intent").len(), 1);
    daemon.stop();
}

#[test]
fn queued_job_on_last_use_is_revocable() {
    let daemon = Daemon::start(Options {
        jobs: 1,
        waiting: 4,
        ..options()
    });
    let mut new = to_a("site.*");
    new.uses = Some(2);
    let grant = give(&daemon, new);
    let mut a = Caller::new(&daemon, &user_a());
    let _runs = a
        .run(at_once(change("site.wait", &[])))
        .expect("it is given");
    let queued = a
        .run(at_once(change("site.reload", &[])))
        .expect("it is given");
    assert_eq!(queued.state, State::Queued);
    assert!(listed(&daemon).is_empty() && !reloads(&daemon));
    revoke(&daemon, Some(grant)).expect("something waits by it");
    assert_eq!(
        a.job(queued.job, 0).expect("it is ours").state,
        State::Denied
    );
    daemon.stop();
}

fn sequence(record: &Value) -> u64 {
    let number = &record["REMIT_SEQ"];
    let text = number
        .as_str()
        .map(str::to_owned)
        .unwrap_or_else(|| number.to_string());
    text.parse().expect("every record has a number")
}

fn grant_of(intent: &Value) -> Option<u64> {
    let rule = intent["REMIT_RULE"].as_str()?;
    let (_, after) = rule.rsplit_once(", grant ")?;
    after.split(' ').next()?.parse().ok()
}

#[test]
fn no_start_after_revoke_reply_in_races() {
    const RACES: u64 = 80;
    let daemon = started();
    let barrier = Barrier::new(2);
    let grants: Vec<u64> = std::thread::scope(|scope| {
        let (daemon, barrier) = (&daemon, &barrier);
        scope.spawn(move || {
            let mut a = Caller::new(daemon, &user_a());
            for _ in 0..RACES {
                barrier.wait();
                let _outcome = a.run(at_once(change("site.reload", &[])));
                barrier.wait();
            }
        });
        (0..RACES)
            .map(|race| {
                let grant = give(daemon, to_a("site.reload"));
                barrier.wait();
                // From before the request to after the start of its job, also on a slow machine.
                std::thread::sleep(Duration::from_micros((race % 40).pow(2) * 10));
                revoke(daemon, Some(grant)).expect("it is there");
                barrier.wait();
                grant
            })
            .collect()
    });
    let revoked: BTreeMap<u64, u64> = daemon
        .records("revoked")
        .iter()
        .map(|record| {
            let grant = record["REMIT_GRANT"].as_str().expect("it has a number");
            (grant.parse().expect("it is a number"), sequence(record))
        })
        .collect();
    assert_eq!(revoked.keys().copied().collect::<Vec<_>>(), grants);
    let mut started = 0;
    for intent in daemon.records("intent") {
        let grant = grant_of(&intent).expect("nothing else lets it run");
        assert!(
            sequence(&intent) < revoked[&grant],
            "started after the revoke: {intent}"
        );
        started += 1;
    }
    println!("{started} of {RACES} started");
    assert!(
        started > 0 && started < RACES,
        "{started} of {RACES} started"
    );
    daemon.stop();
}
