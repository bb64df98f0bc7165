//! Stopping jobs that resist: verified, within a known time, with no process left.

use std::time::{Duration, Instant};

use remit_common::caps;
use remit_common::names::JobId;
use remit_common::refusal::Code;
use remit_tests::caller::{Caller, argv, at_once, script, stdout};
use remit_tests::daemon::{Daemon, Options, user_a};
use remit_wire::Run;
use remit_wire::outcome::{JobReport, State};

/// Grace time and kill together, with reserve for a busy machine.
const SOON: Duration = Duration::from_secs(40);

fn start_ready(caller: &mut Caller, text: &str) -> JobId {
    let run = at_once(script(text));
    let job = caller.run(run).expect("user A has a grant").job;
    let followed = caller
        .follow(job, [0, 0], caps::WAIT_MS)
        .expect("the job is ours");
    assert!(
        followed.stdout.bytes.starts_with(b"ready"),
        "{text}: {followed:?}"
    );
    job
}

fn is_stopped(report: &JobReport, name: &str) {
    let ending = report
        .ending
        .as_ref()
        .unwrap_or_else(|| panic!("{name}: {report:?}"));
    assert_eq!(
        (ending.state, ending.kill_verified),
        (State::Cancelled, true),
        "{name}: {report:?}"
    );
}

#[test]
fn stop_ends_job_and_all_descendants() {
    let daemon = Daemon::start(Options {
        limits: "tasks = 128".into(),
        ..Options::default()
    });
    let stops: Vec<_> = [
        (
            "deaf to every signal that can be ignored",
            "trap '' TERM INT HUP QUIT USR1 USR2 PIPE ALRM; echo ready; while :; do sleep 1; done",
        ),
        ("stopped", "echo ready; kill -STOP $$; sleep 1000"),
        (
            "all of it stopped",
            "sleep 1000 & kill -STOP $!; echo ready; kill -STOP $$",
        ),
        (
            "children that are deaf",
            "(trap '' TERM HUP; echo ready; while :; do sleep 1; done) & wait",
        ),
        (
            "a session of its own that holds the pipe",
            "setsid sh -c 'trap \"\" TERM; echo ready; while :; do sleep 1; done' & sleep 1000",
        ),
        (
            "a fork bomb",
            "f() { f | f & wait; }; echo ready; (f) & exec sleep 1000",
        ),
        (
            "forking all the time, nobody older than a moment",
            "echo ready; while :; do (sleep 0.01 & sleep 0.01 &) ; done",
        ),
        (
            "writing all the time",
            "trap '' TERM PIPE; echo ready; while :; do echo more >&2; done",
        ),
        (
            "passing itself on at TERM",
            "trap 'setsid sh -c \"trap : TERM; while :; do sleep 1; done\" & exit 0' TERM; echo ready; \
             while :; do sleep 0.1; done",
        ),
    ]
    .into_iter()
    .map(|(name, text)| {
        let mut caller = Caller::new(&daemon, &user_a());
        std::thread::spawn(move || {
            let job = start_ready(&mut caller, text);
            let start = Instant::now();
            let report = caller.stop(job).expect("the job is ours");
            assert!(start.elapsed() < SOON, "{name}: {:?}", start.elapsed());
            is_stopped(&report, name);
        })
    })
    .collect();
    for stop in stops {
        stop.join().expect("each is stopped");
    }
    daemon.is_well();
    daemon.stop();
}

/// Ignores the first signal, so the kill comes after the grace time. All run at once, because that time is long.
#[test]
fn signal_ignoring_job_is_killed_after_grace() {
    let daemon = Daemon::start(Options::default());
    let stops: Vec<_> = [
        None,
        Some(libc::SIGINT),
        Some(libc::SIGHUP),
        Some(libc::SIGCONT),
    ]
    .into_iter()
    .map(|signal| {
        let mut caller = Caller::new(&daemon, &user_a());
        std::thread::spawn(move || {
            let text = "trap '' TERM INT HUP; echo ready; while :; do sleep 1; done";
            let job = start_ready(&mut caller, text);
            let start = Instant::now();
            let report = caller.stop_by(job, signal).expect("the job is ours");
            (report, start.elapsed())
        })
    })
    .collect();
    for stop in stops {
        let (report, took) = stop.join().expect("each is stopped");
        let ending = report.ending.as_ref().expect("it has ended");
        assert_eq!(
            (ending.state, ending.signal, ending.kill_verified),
            (State::Cancelled, Some(libc::SIGKILL), true),
            "{report:?}"
        );
        assert!(took > Duration::from_secs(4) && took < SOON, "{took:?}");
    }
    daemon.is_well();
    daemon.stop();
}

#[test]
fn each_signal_of_a_stop_arrives() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    // print() may not be entered again while a signal interrupts it.
    let text = "import os, signal, sys, time\n\
        def got(number, frame):\n\
        \x20   os.write(1, b'got %d\\n' % number)\n\
        \x20   sys.exit(40)\n\
        for number in range(1, 65):\n\
        \x20   if number not in (9, 19, 32, 33):\n\
        \x20       signal.signal(number, got)\n\
        os.write(1, b'ready\\n')\n\
        time.sleep(1000)\n";
    for signal in [
        libc::SIGTERM,
        libc::SIGINT,
        libc::SIGHUP,
        libc::SIGQUIT,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGALRM,
        libc::SIGSEGV,
        libc::SIGTSTP,
        libc::SIGCONT,
        libc::SIGSYS,
    ] {
        let run = Run {
            what: remit_wire::What::Script {
                text: remit_wire::Bytes::from(text.as_bytes().to_vec()),
                interpreter: Some(remit_wire::Bytes::from(b"python3".to_vec())),
            },
            ..at_once(script(""))
        };
        let job = caller.run(run).expect("user A has a grant").job;
        let followed = caller
            .follow(job, [0, 0], caps::WAIT_MS)
            .expect("the job is ours");
        assert!(followed.stdout.bytes.starts_with(b"ready"), "{followed:?}");
        let report = caller.stop_by(job, Some(signal)).expect("the job is ours");
        let ending = report.ending.as_ref().expect("it has ended");
        assert_eq!(
            (ending.state, ending.exit, stdout(&report)),
            (State::Cancelled, Some(40), format!("ready\ngot {signal}\n")),
            "{report:?}"
        );
    }
    daemon.is_well();
    daemon.stop();
}

#[test]
fn unknown_signal_is_refused() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let job = start_ready(&mut caller, "echo ready; sleep 1000");
    for signal in [0, -1, -9, 65, 128, 1 << 16, i32::MAX, i32::MIN] {
        let refusal = caller
            .stop_by(job, Some(signal))
            .expect_err("there is no such signal");
        assert_eq!(refusal.code, Code::InvalidArgs, "{signal}: {refusal}");
        assert!(
            refusal.object.as_deref() == Some(signal.to_string().as_str()),
            "{signal}: {refusal:?}"
        );
    }
    assert_eq!(
        caller.job(job, 0).expect("the job is ours").state,
        State::Running
    );
    let report = caller.stop(job).expect("the job is ours");
    is_stopped(&report, "after all");
    daemon.stop();
}

#[test]
fn a_stop_of_what_has_ended_changes_nothing() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let ended = caller
        .run(script("echo done; exit 7"))
        .expect("user A has a grant");
    for signal in [None, Some(libc::SIGKILL), Some(libc::SIGTERM)] {
        let report = caller.stop_by(ended.job, signal).expect("the job is ours");
        assert_eq!(report, ended);
    }
    assert_eq!(daemon.records("end").len(), 1);
    daemon.is_well();
    daemon.stop();
}

#[test]
fn stops_at_once_are_one_stop() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    let job = start_ready(
        &mut caller,
        "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done",
    );
    let stops: Vec<_> = (0..8)
        .map(|number| {
            let mut caller = Caller::new(&daemon, &user_a());
            let signal = [None, Some(libc::SIGINT), Some(libc::SIGKILL)][number % 3];
            std::thread::spawn(move || caller.stop_by(job, signal).expect("the job is ours"))
        })
        .collect();
    for stop in stops {
        let report = stop.join().expect("each is answered");
        is_stopped(&report, "stopped by many");
    }
    assert_eq!(daemon.records("end").len(), 1);
    daemon.is_well();
    daemon.stop();
}

#[test]
fn stop_at_job_end_is_answered() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    for turn in 0..40 {
        let seconds = format!("0.{:03}", turn % 20);
        let job = caller
            .run(at_once(argv(&["sleep", &seconds])))
            .expect("user A has a grant")
            .job;
        let report = caller.stop(job).expect("the job is ours");
        assert!(
            matches!(report.state, State::Exited | State::Cancelled),
            "{report:?}"
        );
        let ending = report.ending.as_ref().expect("it has ended");
        assert!(ending.kill_verified, "{report:?}");
    }
    assert_eq!(
        (daemon.records("intent").len(), daemon.records("end").len()),
        (40, 40)
    );
    daemon.is_well();
    daemon.stop();
}

#[test]
fn stop_ends_shell_waiting_for_child() {
    let daemon = Daemon::start(Options::default());
    let mut caller = Caller::new(&daemon, &user_a());
    for (signal, number) in [(Some(libc::SIGINT), 2), (None, 15)] {
        // The shell handles SIGINT only after sleep has ended. Without a signal to the whole group it would be
        // killed first.
        let job = start_ready(&mut caller, "echo ready; sleep 1000; echo over");
        let report = caller.stop_by(job, signal).expect("the job is ours");
        is_stopped(&report, "a shell");
        let ending = report.ending.expect("it has ended");
        assert_eq!(ending.signal, Some(number), "{ending:?}");
    }
    daemon.stop();
}
