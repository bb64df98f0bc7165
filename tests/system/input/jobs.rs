//! Misbehaving jobs.

use std::time::{Duration, Instant};

use remit_common::caps;
use remit_common::refusal::Code;
use remit_tests::caller::{Caller, argv, at_once, cause, script, stdout};
use remit_tests::daemon::{Daemon, Options, user_a, user_b};
use remit_tests::process::status_field;
use remit_wire::Run;
use remit_wire::outcome::{JobReport, State};

fn ends(daemon: &Daemon, run: Run, runtime_s: u32) -> JobReport {
    let mut caller = Caller::new(daemon, &user_a());
    let started = caller
        .run(at_once(Run {
            max_runtime_s: Some(runtime_s),
            ..run
        }))
        .expect("user A has a grant");
    let _ = Caller::new(daemon, &user_b())
        .run(argv(&["true"]))
        .expect("user B is served meanwhile");
    let report = caller.end_of(started.job);
    let ending = report.ending.as_ref().expect("it has ended");
    assert!(ending.kill_verified, "{report:?}");
    daemon.is_well();
    report
}

#[test]
fn endless_output_ends_at_the_limit() {
    let daemon = Daemon::start(Options::default());
    let broker = daemon.broker().expect("there is a broker");
    // 10 GB, of which 64 MiB are kept.
    let report = ends(&daemon, script("head -c 10G /dev/zero"), 60);
    assert_eq!(report.state, State::OutputLimit, "{report:?}");
    assert!(
        report.stdout.total >= caps::SPOOL_PER_JOB,
        "{} bytes",
        report.stdout.total
    );
    let memory = status_field(broker, "VmRSS").unwrap_or_default();
    let kib: u64 = memory
        .split_whitespace()
        .next()
        .and_then(|kib| kib.parse().ok())
        .expect("the broker lives");
    assert!(kib < 48 << 10, "the broker holds {memory}");
    daemon.stop();
}

#[test]
fn an_endless_line_is_counted_and_cut() {
    let daemon = Daemon::start(Options::default());
    let report = ends(
        &daemon,
        script("head -c 8M /dev/zero | tr '\\0' x; echo end"),
        30,
    );
    assert_eq!(
        (report.state, report.stdout.total),
        (State::Exited, (8 << 20) + 4),
        "{report:?}"
    );
    assert!(report.stdout.head.len() + report.stdout.tail.len() <= caps::INLINE_OUTPUT);
    assert!(report.stdout.tail.ends_with(b"xend\n"));
    daemon.stop();
}

#[test]
fn single_bytes_on_both_streams_are_counted() {
    let daemon = Daemon::start(Options::default());
    let text = "i=0; while [ $i -lt 2000 ]; do printf a; printf b >&2; i=$((i+1)); done";
    let report = ends(&daemon, script(text), 30);
    assert_eq!(
        (report.stdout.total, report.stderr.total),
        (2000, 2000),
        "{report:?}"
    );
    daemon.stop();
}

#[test]
fn a_fork_bomb_hits_its_limit() {
    let daemon = Daemon::start(Options {
        limits: "tasks = 64".into(),
        ..Options::default()
    });
    let report = ends(&daemon, script("f() { f | f & wait; }; f"), 3);
    assert_ne!(report.state, State::Running, "{report:?}");
    daemon.stop();
}

#[test]
fn a_memory_bomb_hits_its_limit() {
    let daemon = Daemon::start(Options {
        limits: format!("memory = {}", 64 << 20),
        ..Options::default()
    });
    let report = ends(
        &daemon,
        script("head -c 300M /dev/zero | tail -c 200M | wc -c"),
        20,
    );
    let tail = stdout(&report);
    let held = report.state == State::OomKilled || tail.trim() == "0" || report.stderr.total > 0;
    assert!(held, "{report:?}");
    daemon.stop();
}

#[test]
fn a_full_private_directory_says_so() {
    let daemon = Daemon::start(Options {
        limits: format!("tmp = {}", 1 << 20),
        ..Options::default()
    });
    let report = ends(&daemon, script("head -c 4M /dev/zero > /tmp/big"), 20);
    let said = String::from_utf8_lossy(&report.stderr.head).into_owned();
    assert!(said.contains("No space left"), "{report:?}");
    daemon.stop();
}

#[test]
fn signal_ignoring_job_ends_at_deadline() {
    let daemon = Daemon::start(Options::default());
    let start = Instant::now();
    let report = ends(
        &daemon,
        script("trap '' TERM INT HUP QUIT USR1; while :; do sleep 1; done"),
        1,
    );
    assert_eq!(report.state, State::TimedOut, "{report:?}");
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "{:?}",
        start.elapsed()
    );
    daemon.stop();
}

#[test]
fn self_stopped_job_ends_at_deadline() {
    let daemon = Daemon::start(Options::default());
    let report = ends(&daemon, script("kill -STOP $$; echo never"), 1);
    assert_eq!(
        (report.state, report.stdout.total),
        (State::TimedOut, 0),
        "{report:?}"
    );
    daemon.stop();
}

#[test]
fn leftover_processes_end_with_their_job() {
    let daemon = Daemon::start(Options::default());
    for (name, text) in [
        ("a grandchild that holds the pipe", "sleep 1000 & echo done"),
        ("a session of its own", "setsid sleep 1000 & echo done"),
        (
            "a double fork",
            "(setsid sh -c 'sleep 1000 & sleep 1000' &) ; echo done",
        ),
        (
            "one that ignores signals",
            "(trap '' TERM HUP; setsid sleep 1000 >/dev/null 2>&1 </dev/null &) ; echo done",
        ),
        (
            "many",
            "i=0; while [ $i -lt 200 ]; do sleep 1000 & i=$((i+1)); done; echo done",
        ),
    ] {
        let start = Instant::now();
        let report = ends(&daemon, script(text), 30);
        assert_eq!(
            (report.state, stdout(&report).as_str()),
            (State::Exited, "done\n"),
            "{name}: {report:?}"
        );
        assert!(
            start.elapsed() < Duration::from_secs(25),
            "{name}: {:?}",
            start.elapsed()
        );
    }
    daemon.stop();
}

/// Race between fork and kill: children still start when the main process ends.
#[test]
fn children_still_starting_end_too() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    for _ in 0..20 {
        let text = "i=0; while [ $i -lt 100 ]; do sleep 1000 & i=$((i+1)); done & sleep 0.01";
        let report = caller.run(script(text)).expect("user A has a grant");
        assert!(
            report
                .ending
                .as_ref()
                .is_some_and(|ending| ending.kill_verified),
            "{report:?}"
        );
        assert_eq!(daemon.job_processes(), []);
    }
    daemon.is_well();
    daemon.stop();
}

#[test]
fn each_ending_has_its_name() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    for (text, state, exit, signal) in [
        ("exit 0", State::Exited, Some(0), None),
        ("exit 7", State::Exited, Some(7), None),
        ("kill -SEGV $$", State::Signalled, None, Some(libc::SIGSEGV)),
        ("kill -KILL $$", State::Signalled, None, Some(libc::SIGKILL)),
        ("kill -XCPU $$", State::Signalled, None, Some(libc::SIGXCPU)),
    ] {
        let report = caller.run(script(text)).expect("user A has a grant");
        let ending = report.ending.as_ref().expect("it has ended");
        assert_eq!(
            (ending.state, ending.exit, ending.signal),
            (state, exit, signal),
            "{text}: {report:?}"
        );
        match signal {
            // The whole cause: a signal that a process sent exceeds no limit.
            Some(libc::SIGXCPU) => assert_eq!(cause(&report), "ended by signal 24 (SIGXCPU)"),
            _ => assert!(!cause(&report).is_empty()),
        }
        assert!(report.denials.is_empty(), "{text}: {report:?}");
    }
    let job = caller
        .run(at_once(argv(&["sleep", "1000"])))
        .expect("user A has a grant")
        .job;
    caller.stop(job).expect("the job is ours");
    let report = caller.end_of(job);
    assert_eq!(report.state, State::Cancelled, "{report:?}");
    let causes: Vec<_> = daemon
        .records("end")
        .iter()
        .map(|end| end["REMIT_CAUSE"].clone())
        .collect();
    assert_eq!(causes.len(), 6);
    assert!(
        causes
            .iter()
            .all(|cause| cause.as_str().is_some_and(|cause| !cause.is_empty())),
        "{causes:?}"
    );
    daemon.is_well();
    daemon.stop();
}

#[test]
fn jobs_per_user_are_limited() {
    let daemon = Daemon::start(Options {
        jobs: 3,
        queue: "queue = 0".into(),
        ..Options::default()
    });
    let mut caller = Caller::new(&daemon, &user_a());
    let jobs: Vec<_> = (0..3)
        .map(|_| {
            caller
                .run(at_once(argv(&["sleep", "1000"])))
                .expect("it is accepted")
                .job
        })
        .collect();
    let refusal = caller.run(argv(&["true"])).expect_err("there is no room");
    assert_eq!(refusal.code, Code::Busy, "{refusal}");
    for job in jobs {
        caller.stop(job).expect("the job is ours");
        assert_eq!(caller.end_of(job).state, State::Cancelled);
    }
    daemon.is_well();
    daemon.stop();
}
