//! Jobs that go on after their first process, and jobs that look ended but are not.

use std::time::{Duration, Instant};

use remit_common::caps;
use remit_tests::caller::{Caller, at_once, script, stdout};
use remit_tests::daemon::{Daemon, Options, user_a};
use remit_wire::Run;
use remit_wire::outcome::State;

use super::scene::kept;

#[test]
fn pipe_holding_children_do_not_delay_callers() {
    let daemon = Daemon::start(kept(4 << 20, 32 << 20, 64 << 20));
    let mut caller = Caller::new(&daemon, &user_a());
    for (name, text) in [
        (
            "one that writes on",
            "(while :; do echo more; done) & echo first; exit 3",
        ),
        (
            "one that writes on to the other stream, deaf",
            "(trap '' TERM HUP PIPE; while :; do echo more >&2; done) & echo first; exit 3",
        ),
        (
            "one that is stopped and holds them",
            "sleep 1000 & kill -STOP $!; echo first; exit 3",
        ),
        (
            "one that reads what it writes",
            "(exec 3<&1; cat <&3) 2>/dev/null & echo first; exit 3",
        ),
        (
            "many that fill them",
            "for i in 1 2 3 4 5 6 7 8; do yes & done; echo first; exit 3",
        ),
    ] {
        let start = Instant::now();
        let report = caller
            .run(script(text))
            .unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        let ending = report
            .ending
            .as_ref()
            .unwrap_or_else(|| panic!("{name}: {report:?}"));
        // `OutputLimit` is a separate end state, even if it comes last.
        assert!(
            (ending.state, ending.exit) == (State::Exited, Some(3))
                || ending.state == State::OutputLimit,
            "{name}: {report:?}"
        );
        assert!(ending.kill_verified, "{name}: {report:?}");
        assert!(
            stdout(&report).contains("first\n") || report.stdout.omitted() > 0,
            "{name}: {report:?}"
        );
        assert_eq!(daemon.job_processes(), [], "{name}");
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{name}: {:?}",
            start.elapsed()
        );
    }
    daemon.is_well();
    daemon.stop();
}

/// Closes its output long before the job ends.
#[test]
fn job_with_closed_output_continues_until_exit() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let text = "echo all; exec >&- 2>&-; sleep 1; exit 5";
    let first = caller
        .run(Run {
            wait_ms: Some(300),
            ..script(text)
        })
        .expect("user A has a grant");
    assert_eq!(first.state, State::Running, "{first:?}");
    let report = caller.end_of(first.job);
    let ending = report.ending.as_ref().expect("it has ended");
    assert_eq!(
        (ending.exit, stdout(&report).as_str()),
        (Some(5), "all\n"),
        "{report:?}"
    );
    assert!(ending.runtime_ms >= 1000, "{report:?}");
    daemon.stop();
}

#[test]
fn fork_bombs_end_at_deadline() {
    let daemon = Daemon::start(Options {
        limits: "tasks = 64".into(),
        ..Options::default()
    });
    let jobs: Vec<_> = [
        "while :; do (sleep 0.01 &) ; done",
        "f() { f | f & wait; }; f",
        "while :; do setsid sh -c 'sleep 0.01 & sleep 0.01' & done",
        "trap '' TERM; kill -STOP $$",
    ]
    .into_iter()
    .map(|text| {
        let run = Run {
            max_runtime_s: Some(1),
            ..script(text)
        };
        let mut caller = Caller::new(&daemon, &user_a());
        std::thread::spawn(move || caller.run(run).expect("user A has a grant"))
    })
    .collect();
    for job in jobs {
        let report = job.join().expect("each ends");
        let ending = report.ending.as_ref().expect("it has ended");
        assert!(ending.kill_verified, "{report:?}");
        assert!(
            ending.runtime_ms < 12_000 || ending.state != State::TimedOut,
            "{report:?}"
        );
        // The shell may give up if it cannot fork. Otherwise the timeout ends it.
        assert!(
            matches!(ending.state, State::TimedOut | State::Exited),
            "{report:?}"
        );
    }
    daemon.is_well();
    daemon.stop();
}

#[test]
fn wait_and_runtime_limits_are_inclusive() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    for (name, wait_ms, max_runtime_s, accepted) in [
        ("no runtime", Some(0), Some(0), false),
        ("the longest runtime", Some(0), Some(3600), true),
        ("longer than remit.toml allows", Some(0), Some(3601), false),
        (
            "longer than any file allows",
            Some(0),
            Some(caps::RUNTIME_S + 1),
            false,
        ),
        ("the greatest number", Some(0), Some(u32::MAX), false),
        ("no runtime named", Some(0), None, true),
        ("a wait without end", Some(u32::MAX), Some(1), true),
    ] {
        let answer = caller.run(Run {
            wait_ms,
            max_runtime_s,
            ..at_once(script("exit 0"))
        });
        assert_eq!(answer.is_ok(), accepted, "{name}: {answer:?}");
    }
    let job = caller
        .run(at_once(script("sleep 0.3; echo end")))
        .expect("user A has a grant")
        .job;
    let report = caller.job(job, u32::MAX).expect("the job is ours");
    assert_eq!(stdout(&report), "end\n", "{report:?}");
    daemon.is_well();
    daemon.stop();
}
