//! The broker dies at the worst moments: no job is lost, none runs twice, and every result can still be had.

// A test stops at the first surprise; clippy knows that only of functions marked as tests.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_common::outcome::State;
use remit_common::wire::{Reply, Request};
use remit_tests::caller::{Caller, at_once, script, stdout};
use remit_tests::daemon::{Daemon, Options, user_a};
use remit_tests::process::ends_within;

fn kill_broker(daemon: &Daemon) -> i32 {
    let broker = daemon.broker().expect("there is a broker");
    kill(Pid::from_raw(broker), Signal::SIGKILL).expect("it lives");
    assert!(ends_within(broker, 1000));
    broker
}

#[test]
fn a_running_job_goes_on_and_its_result_can_be_had() {
    let daemon = Daemon::start(Options::default());
    let text = "echo before; sleep 2; echo after; echo problem >&2; exit 3";
    let job = Caller::new(&daemon, &user_a())
        .run(at_once(script(text)))
        .expect("user A has a grant")
        .job;
    let warden = daemon.pid();
    kill_broker(&daemon);
    let report = Caller::new(&daemon, &user_a()).end_of(job);
    let exit = report.ending.as_ref().and_then(|ending| ending.exit);
    assert_eq!((report.state, exit), (State::Exited, Some(3)), "{report:?}");
    assert_eq!(stdout(&report), "before\nafter\n");
    assert_eq!(report.stderr.head.as_slice(), b"problem\n");
    let told = daemon.remit(&user_a(), &["--json", "job", &job.to_string()]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("before\\nafter\\n"), "{told}");
    assert_eq!(daemon.pid(), warden);
    assert_eq!(
        (daemon.records("intent").len(), daemon.records("end").len()),
        (1, 1)
    );
    daemon.is_well();
    daemon.stop();
}

#[test]
fn an_ended_job_is_still_known() {
    let daemon = Daemon::start(Options::default());
    let report = Caller::new(&daemon, &user_a())
        .run(script("echo kept"))
        .expect("user A has a grant");
    kill_broker(&daemon);
    let again = Caller::new(&daemon, &user_a()).end_of(report.job);
    assert_eq!(
        (again.state, stdout(&again).as_str()),
        (State::Exited, "kept\n")
    );
    daemon.stop();
}

#[test]
fn it_is_started_again_as_often_as_it_dies() {
    let daemon = Daemon::start(Options::default());
    let job = Caller::new(&daemon, &user_a())
        .run(at_once(script("sleep 3; echo end")))
        .expect("there is room")
        .job;
    for _ in 0..3 {
        kill_broker(&daemon);
        daemon_answers(&daemon);
    }
    let report = Caller::new(&daemon, &user_a()).end_of(job);
    assert_eq!(stdout(&report), "end\n", "{report:?}");
    daemon.stop();
}

/// A client that comes while there is no broker waits for the next one.
fn daemon_answers(daemon: &Daemon) {
    let start = Instant::now();
    let answer = Caller::new(daemon, &user_a()).ask(Request::Jobs { limit: 1 });
    assert!(matches!(answer, Ok(Reply::Jobs(_))), "{answer:?}");
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}
