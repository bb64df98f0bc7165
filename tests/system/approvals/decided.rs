//! Ends of requests that nobody approves. A requester sees in the history what was decided, and by whom.

use std::time::{Duration, Instant};

use remit_common::admin::AdminRequest;
use remit_common::caps;
use remit_common::refusal::Code;
use remit_tests::caller::{Caller, argv, at_once, cause, change};
use remit_tests::daemon::{Daemon, Options, admin, other_admin, user_a, user_b};
use remit_wire::outcome::State;
use remit_wire::{HistoryQuery, Kind, Reply, Request};

use super::scene::{
    POLICY, about, approve, approve_as, asked, asks, code, deny, does, events, listed, options,
    started,
};

#[test]
fn a_denial_tells_the_requester_why() {
    let daemon = started();
    let (mut caller, job, view) = asked(&daemon);
    assert!(
        deny(&daemon, &other_admin(), job, " \n").is_err(),
        "without a reason"
    );
    let digest = listed(&daemon, job).digest;
    // A character of two bytes, and one that becomes an escape: the bytes that the requester would read count.
    for long in [
        "é".repeat(501),
        "w".repeat(1001),
        format!("{}\u{7}", "w".repeat(999)),
    ] {
        let refusal = deny(&daemon, &admin(), job, &long).expect_err("it is too long");
        assert_eq!(refusal.code, Code::InvalidArgs, "{refusal:?}");
        assert!(
            refusal.message.contains("the maximum is 1000"),
            "{refusal:?}"
        );
    }
    assert_eq!(daemon.status().pending, 1, "it still waits");
    deny(&daemon, &admin(), job, "not\non friday").expect("an administrator can");
    let report = caller.end_of(job);
    assert_eq!(
        (report.state, code(&report)),
        (State::Denied, "approval_denied")
    );
    assert_eq!(cause(&report), "denied by #64005: not\\non friday");
    assert!(report.ending.expect("it ended").next.is_some());
    assert_eq!(events(&daemon, job), ["asked", "denied"]);
    let denied = &about(&daemon, job)[1];
    assert_eq!(
        (&denied["REMIT_DIGEST"], &denied["REMIT_APPROVER"]),
        (&view.digest.into(), &"#64005".into())
    );
    let refusal = approve_as(&daemon, &admin(), job, digest).expect_err("it was denied");
    assert_eq!(refusal.code, Code::NotFound);
    assert!(
        refusal
            .message
            .contains(": denied by #64005: not\\non friday"),
        "{refusal:?}"
    );
    assert_eq!(
        deny(&daemon, &admin(), job, "again")
            .expect_err("it has ended")
            .message,
        refusal.message
    );
    assert_eq!(
        (daemon.status().pending, daemon.records("intent").len()),
        (0, 0)
    );
    daemon.stop();
}

#[test]
fn longest_reason_is_kept_whole() {
    let daemon = started();
    let (mut caller, job, _) = asked(&daemon);
    let why = format!(" {}\n", "é".repeat(caps::WHY / 2));
    deny(&daemon, &admin(), job, &why).expect("an administrator can");
    let cause_seen = cause(&caller.end_of(job)).to_owned();
    assert_eq!(cause_seen, format!("denied by #64005: {}", why.trim()));
    daemon.stop();
}

#[test]
fn unapproved_request_expires() {
    let policy = POLICY.replace("10min", "10s");
    let daemon = Daemon::start(Options {
        policy,
        ..options()
    });
    let start = Instant::now();
    let (mut caller, job, _) = asked(&daemon);
    let digest = listed(&daemon, job).digest;
    let report = caller.end_of(job);
    assert!(
        start.elapsed() >= Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(
        (report.state, code(&report)),
        (State::Expired, "approval_expired"),
        "{report:?}"
    );
    assert_eq!(events(&daemon, job), ["asked", "expired"]);
    let refusal = approve_as(&daemon, &admin(), job, digest).expect_err("it has expired");
    assert_eq!(refusal.code, Code::NotFound);
    daemon.stop();
}

#[test]
fn owner_or_administrator_withdraws_request() {
    let daemon = started();
    let (mut caller, job, _) = asked(&daemon);
    let mut other = Caller::new(&daemon, &user_b());
    assert_eq!(other.stop(job).expect_err("it is A's").code, Code::NotFound);
    assert!(other.job(job, 0).is_err());
    caller.stop(job).expect("it is theirs");
    let report = caller.end_of(job);
    assert_eq!((report.state, code(&report)), (State::Cancelled, ""));
    assert_eq!(events(&daemon, job), ["asked", "end"]);
    let (job, _) = asks(&mut caller, "site.wait", &[]);
    let signal = None;
    let _ = does(&daemon, AdminRequest::Stop { job, signal });
    assert_eq!(caller.end_of(job).state, State::Cancelled);
    daemon.stop();
}

#[test]
fn pending_limit_is_per_user() {
    let daemon = started();
    let mut many = Caller::new(&daemon, &user_a());
    let mut waiting = 0;
    let mut busy = 0;
    for _ in 0..1000 {
        let run = at_once(change("site.wait", &[]));
        match many.run(run) {
            Ok(_) => waiting += 1,
            Err(refusal) => {
                assert!(
                    matches!(refusal.code, Code::Busy | Code::RateLimited),
                    "{refusal:?}"
                );
                busy += 1;
            }
        }
    }
    assert_eq!((waiting, busy), (16, 984));
    let mut other = Caller::new(&daemon, &user_b());
    let (job, _) = asks(&mut other, "site.switch", &[("to", "blue")]);
    let view = listed(&daemon, job);
    assert_eq!(daemon.status().pending, 17);
    approve_as(&daemon, &admin(), job, view.digest).expect("the approver can");
    assert_eq!(other.end_of(job).state, State::Exited);
    daemon.stop();
}

/// The daemon holds each argument twice: as what runs, and in the bytes that are signed.
#[test]
fn signed_bytes_count_as_waiting() {
    const RUNS: &str = r##"
[[grant]]
name = "runs"
to = ["#64001"]
allow = ["run"]
approval = { by = ["#64005"] }
"##;
    let daemon = Daemon::start(Options {
        policy: RUNS.to_owned(),
        ..options()
    });
    let mut caller = Caller::new(&daemon, &user_a());
    let word = "x".repeat(100 << 10);
    let most = [caps::PENDING_PER_UID, caps::QUEUED_BYTES].map(|bound| Some(bound.to_string()));
    // With either number of words, the arguments alone fit the user's share 16 times.
    for (words, waiting, bound) in [(2, 16, &most[0]), (4, 10, &most[1])] {
        let run = at_once(argv(&[&["true"][..], &vec![&*word; words]].concat()));
        let mut jobs = Vec::new();
        let refusal = loop {
            match caller.run_patiently(&run) {
                Ok(report) => jobs.push(report.job),
                Err(refusal) => break refusal,
            }
        };
        assert_eq!((refusal.code, &refusal.object), (Code::Busy, bound));
        assert_eq!(jobs.len(), waiting, "{words} words");
        for job in jobs {
            caller.stop(job).expect("the job is ours");
        }
    }
    daemon.stop();
}

#[test]
fn approval_is_in_history_of_requester() {
    let daemon = started();
    let (mut caller, job, _) = asked(&daemon);
    let _ = approve(&daemon, job).expect("it waits");
    let _ = caller.end_of(job);
    let (other, _) = asks(&mut caller, "site.wait", &[]);
    let _ = deny(&daemon, &admin(), other, "not today").expect("it waits");

    let query = HistoryQuery {
        limit: 100,
        ..HistoryQuery::default()
    };
    let Ok(Reply::History(page)) = caller.ask(Request::History(query)) else {
        panic!("one may ask for one's own");
    };
    let verdicts = |entry: &remit_wire::HistoryEntry| {
        let verdict = entry.verdict.clone();
        (entry.kind, verdict, entry.cause.clone().unwrap_or_default())
    };
    let verdicts: Vec<_> = page.entries.iter().map(verdicts).collect();
    let expect = [
        (Kind::Decided, "denied", "denied by #64005: not today"),
        (Kind::Asked, "awaiting_approval", ""),
        (Kind::Ended, "exited", "exited with status 0"),
        (Kind::Started, "allow", ""),
        (Kind::Decided, "approved", "approved by #64005"),
        (Kind::Asked, "awaiting_approval", ""),
    ];
    let expect = expect.map(|(kind, verdict, cause)| (kind, verdict.to_owned(), cause.to_owned()));
    assert_eq!(verdicts, expect);
    let ids = [(&other, 2), (&job, 4)].map(|(job, count)| vec![job.to_string(); count]);
    let found: Vec<String> = page
        .entries
        .iter()
        .filter_map(|e| e.job_id.clone())
        .collect();
    assert_eq!(found, ids.concat());
    assert!(page.entries.iter().all(|entry| entry.user == "#64001"));
    daemon.stop();
}
