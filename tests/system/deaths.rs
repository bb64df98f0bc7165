//! The broker dies at the worst moments: no job is lost, none runs twice, and every result stays available. If the
//! warden dies, every job dies at once, and the next start reports it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_tests::caller::{Caller, at_once, script, stdout};
use remit_tests::daemon::{Daemon, Options, user_a};
use remit_tests::process::{Process, descendants, ends_within, is_dead, seen, status_field, until};
use remit_wire::outcome::State;
use remit_wire::{Reply, Request, Run};
use serde_json::Value;

fn kill_broker(daemon: &Daemon) -> i32 {
    let broker = daemon.broker().expect("there is a broker");
    kill(Pid::from_raw(broker), Signal::SIGKILL).expect("it lives");
    assert!(ends_within(broker, 20_000));
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

/// A job writes and ends while no broker can start, for longer than one has to read what is left.
#[test]
fn output_is_read_by_the_next_broker() {
    let daemon = Daemon::start(Options::default());
    let text = "echo before; sleep 1; echo after; echo problem >&2";
    let mut caller = Caller::new(&daemon, &user_a());
    let job = caller.run(at_once(script(text))).expect("A may").job;
    let program = daemon.program("remit-broker");
    let away = program.with_extension("away");
    std::fs::rename(&program, &away).expect("it is ours");
    kill_broker(&daemon);
    std::thread::sleep(Duration::from_secs(8));
    assert!(daemon.records("end").is_empty());
    std::fs::rename(&away, &program).expect("it is ours");
    let report = Caller::new(&daemon, &user_a()).end_of(job);
    assert_eq!(stdout(&report), "before\nafter\n", "{report:?}");
    assert_eq!(report.stderr.head.as_slice(), b"problem\n");
    assert!(report.notes.is_empty(), "{report:?}");
    daemon.stop();
}

/// The broker is stopped while the job writes and ends, and dies before it has read that.
#[test]
fn output_that_no_broker_has_read_has_a_note() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let go = daemon.path().join("go");
    let text = format!(
        "until [ -e {} ]; do sleep 0.05; done; echo unread",
        go.display()
    );
    let job = caller.run(at_once(script(&text))).expect("A may").job;
    let broker = daemon.broker().expect("there is one");
    kill(Pid::from_raw(broker), Signal::SIGSTOP).expect("it lives");
    std::fs::write(&go, "").expect("it is ours");
    seen("its end is recorded", || daemon.records("end").pop());
    kill_broker(&daemon);
    for _ in 0..2 {
        let report = Caller::new(&daemon, &user_a()).end_of(job);
        let has_note = |note: &String| note.contains("the rest is missing");
        assert!(report.notes.iter().any(has_note), "{report:?}");
        assert_eq!(stdout(&report), "");
        kill_broker(&daemon);
    }
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

/// Sockets that the daemon has for clients, also those that it has not accepted yet. proc_net(5).
fn connections(daemon: &Daemon) -> usize {
    let socket = daemon.runtime().socket();
    let path = socket.to_str().expect("a path of a test");
    let all = std::fs::read_to_string("/proc/thread-self/net/unix").expect("it is readable");
    all.lines().filter(|line| line.ends_with(path)).count()
}

#[test]
fn connection_just_before_the_brokers_end_is_served_by_the_next() {
    let daemon = Daemon::start(Options::default());
    let before = connections(&daemon);
    daemon.signal(Signal::SIGSTOP);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| Caller::new(&daemon, &user_a()).run(script("echo served")));
        seen("the connection", || {
            (connections(&daemon) > before).then_some(())
        });
        kill_broker(&daemon);
        daemon.signal(Signal::SIGCONT);
        let report = waiting.join().expect("it is let in").expect("it may run");
        assert_eq!(stdout(&report), "served\n", "{report:?}");
    });
    daemon.is_well();
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
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
}

/// Time in which a job dies with the warden, on a machine that is busy. By itself it would run for much longer.
const AT_ONCE_MS: u16 = 3_000;

fn jobs_of(records: &[Value]) -> BTreeSet<String> {
    records
        .iter()
        .filter_map(|record| Some(record["REMIT_JOB"].as_str()?.to_owned()))
        .collect()
}

/// Soon after the warden's death each process is gone or has a pending SIGKILL. A pending SIGKILL lets it run no
/// further instruction, but on a busy machine its removal takes time.
fn all_gone(daemon: &Daemon, start: Instant) {
    let dying = daemon.job_processes();
    for process in &dying {
        let passed = u16::try_from(start.elapsed().as_millis()).unwrap_or(u16::MAX);
        let left = AT_ONCE_MS.saturating_sub(passed);
        let gone = ends_within(process.pid, left) || is_killed(process.pid);
        assert!(gone, "alive after {AT_ONCE_MS} ms: {process:?}");
    }
    assert!(
        dying.iter().all(|process| ends_within(process.pid, 20_000)),
        "{dying:?}"
    );
}

/// Returns true if SIGKILL is pending for the process or its only thread.
fn is_killed(pid: i32) -> bool {
    ["SigPnd", "ShdPnd"].iter().any(|name| {
        let mask = status_field(pid, name).unwrap_or_default();
        u64::from_str_radix(&mask, 16).is_ok_and(|mask| mask & (1 << (libc::SIGKILL - 1)) != 0)
    })
}

#[test]
fn jobs_end_with_warden_and_are_recorded_interrupted() {
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
        // The script's output shows that it runs.
        let report = caller
            .run(Run {
                wait_ms: Some(500),
                ..script(text)
            })
            .expect("it is accepted");
        assert!(report.ending.is_none(), "{report:?}");
    }
    let intents = jobs_of(&daemon.records("intent"));
    assert_eq!(intents.len(), 6);
    until("all processes run", || daemon.job_processes().len() > 60);
    let jobs = daemon.job_processes();
    let below: BTreeSet<i32> = descendants(daemon.pid())
        .iter()
        .chain(&jobs)
        .map(|process| process.pid)
        .collect();
    assert!(
        jobs.iter()
            .all(|process| process.is_of_jobs() || is_dead(process.pid)),
        "a process is in no cgroup of a job"
    );

    let start = Instant::now();
    daemon.signal(Signal::SIGKILL);
    all_gone(&daemon, start);
    let left: Vec<_> = below
        .into_iter()
        .filter(|pid| !ends_within(*pid, 20_000))
        .filter_map(Process::of)
        .collect();
    assert_eq!(left, [], "alive");

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
            .expect("it is accepted");
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
fn repeated_request_after_restart_is_interrupted_job() {
    let mut daemon = Daemon::start(Options::default());
    let request = Run {
        request_id: Some("only once".into()),
        ..at_once(script("sleep 1000"))
    };
    let mut caller = Caller::new(&daemon, &user_a());
    let first = caller.run(request.clone()).expect("it is accepted");
    daemon.signal(Signal::SIGKILL);
    all_gone(&daemon, Instant::now());
    daemon.restart();
    let mut caller = Caller::new(&daemon, &user_a());
    let again = caller.run(request).expect("it is known");
    assert_eq!((again.job, again.state), (first.job, State::Interrupted));
    assert_eq!(daemon.records("intent").len(), 1, "it ran twice");
    daemon.stop();
}
