//! The warden dies: every job dies with it at once, and the next start says so.

// A test stops at the first surprise; clippy knows that only of functions marked as tests.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeSet;
use std::time::Instant;

use nix::sys::signal::Signal;
use remit_common::outcome::State;
use remit_common::wire::Run;
use remit_tests::caller::{Caller, at_once, script};
use remit_tests::daemon::{Daemon, Options, user_a};
use remit_tests::process::{Process, descendants, ends_within, status_field};
use serde_json::Value;

/// How long a job may outlive the warden.
const AT_ONCE_MS: u16 = 100;

fn jobs_of(records: &[Value]) -> BTreeSet<String> {
    records
        .iter()
        .filter_map(|record| Some(record["REMIT_JOB"].as_str()?.to_owned()))
        .collect()
}

/// A tenth of a second after the warden no process of a job is alive: each is gone, or the kernel will let it run
/// no further instruction, since its SIGKILL is there. On a busy machine the latter takes its time to be gone.
fn all_gone(daemon: &Daemon, start: Instant) {
    let dying = daemon.job_processes();
    for process in &dying {
        let passed = u16::try_from(start.elapsed().as_millis()).unwrap_or(u16::MAX);
        let left = AT_ONCE_MS.saturating_sub(passed);
        let gone = ends_within(process.pid, left) || is_killed(process.pid);
        assert!(gone, "alive after {AT_ONCE_MS} ms: {process:?}");
    }
    assert!(
        dying.iter().all(|process| ends_within(process.pid, 10_000)),
        "{dying:?}"
    );
}

/// SIGKILL is pending, for the process or for its one thread.
fn is_killed(pid: i32) -> bool {
    ["SigPnd", "ShdPnd"].iter().any(|name| {
        let mask = status_field(pid, name).unwrap_or_default();
        u64::from_str_radix(&mask, 16).is_ok_and(|mask| mask & (1 << (libc::SIGKILL - 1)) != 0)
    })
}

#[test]
fn no_process_of_any_job_outlives_it_and_each_job_is_recorded_as_interrupted() {
    let mut daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    for text in [
        "sleep 1000",
        "trap '' TERM HUP INT; while :; do sleep 1; done",
        "setsid sleep 1000 & sleep 1000",
        "(setsid sh -c 'sleep 1000 & sleep 1000' &); sleep 1000",
        "kill -STOP $$",
        "i=0; while [ $i -lt 50 ]; do sleep 1000 & i=$((i+1)); done; wait",
    ] {
        // The script's own output tells that it runs.
        let report = caller
            .run(Run {
                wait_ms: Some(500),
                ..script(text)
            })
            .expect("there is room");
        assert!(report.ending.is_none(), "{report:?}");
    }
    let intents = jobs_of(&daemon.records("intent"));
    assert_eq!(intents.len(), 6);
    let jobs = daemon.job_processes();
    let below: BTreeSet<i32> = descendants(daemon.pid())
        .iter()
        .chain(&jobs)
        .map(|process| process.pid)
        .collect();
    assert!(jobs.len() > 60, "only {} processes run", jobs.len());
    assert!(
        jobs.iter().all(Process::is_of_jobs),
        "a process is in no cgroup of a job"
    );

    let start = Instant::now();
    daemon.signal(Signal::SIGKILL);
    all_gone(&daemon, start);
    let left: Vec<_> = below
        .into_iter()
        .filter(|pid| !ends_within(*pid, 5000))
        .filter_map(Process::of)
        .collect();
    assert_eq!(left, [], "alive after five seconds");

    daemon.restart();
    let interrupted = daemon.records("interrupted");
    assert_eq!(interrupted.len(), 6);
    assert_eq!(jobs_of(&interrupted), intents);
    daemon.is_well();
    daemon.restart_cleanly();
    assert_eq!(daemon.records("interrupted").len(), 6, "recorded again");
    daemon.stop();
}

#[test]
fn an_orderly_stop_ends_and_records_every_job() {
    let mut daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    for _ in 0..3 {
        let _ = caller
            .run(at_once(script("trap '' TERM; sleep 1000")))
            .expect("there is room");
    }
    daemon.restart_cleanly();
    assert_eq!(
        jobs_of(&daemon.records("end")),
        jobs_of(&daemon.records("intent"))
    );
    assert_eq!(daemon.records("interrupted").len(), 0);
    assert_eq!(daemon.records("stop").len(), 1);
    daemon.stop();
}

#[test]
fn a_request_sent_again_to_the_next_warden_is_the_interrupted_job() {
    let mut daemon = Daemon::start(Options::default());
    let request = Run {
        request_id: Some("only once".into()),
        ..at_once(script("sleep 1000"))
    };
    let mut caller = Caller::new(&daemon, &user_a());
    let first = caller.run(request.clone()).expect("there is room");
    daemon.signal(Signal::SIGKILL);
    all_gone(&daemon, Instant::now());
    daemon.restart();
    let mut caller = Caller::new(&daemon, &user_a());
    let again = caller.run(request).expect("it is known");
    assert_eq!((again.job, again.state), (first.job, State::Interrupted));
    assert_eq!(daemon.records("intent").len(), 1, "it ran twice");
    daemon.stop();
}
