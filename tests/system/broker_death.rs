//! The broker dies at the worst moments. No job is lost, none runs twice, and every result stays available.

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
fn running_job_survives_broker_and_returns_result() {
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
    let output = daemon.remit(&user_a(), &["--json", "job", &job.to_string()]);
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.contains("before\\nafter\\n"), "{output}");
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
fn broker_is_restarted_after_each_death() {
    let daemon = Daemon::start(Options::default());
    let job = Caller::new(&daemon, &user_a())
        .run(at_once(script("sleep 3; echo end")))
        .expect("it is accepted")
        .job;
    for _ in 0..3 {
        kill_broker(&daemon);
        daemon_answers(&daemon);
    }
    let report = Caller::new(&daemon, &user_a()).end_of(job);
    assert_eq!(stdout(&report), "end\n", "{report:?}");
    daemon.stop();
}

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
