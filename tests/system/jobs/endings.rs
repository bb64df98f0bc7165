//! Jobs that go on after their first process or after their shim, and jobs that look ended but are not. Nothing of killed
//! shims is left.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_common::{caps, frame};
use remit_tests::caller::{Caller, at_once, script, stdout};
use remit_tests::daemon::{Daemon, Options, descriptors_left, open_descriptors, user_a, user_b};
use remit_tests::process::{ends_within, until};
use remit_wire::outcome::State;
use remit_wire::{FromClient, Hello, PROTOCOL, Reply, Request, Run, ToClient};
use serde_json::{Value, json};

use super::scene::{Holder, ids, kept, one_slot};

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
            start.elapsed() < Duration::from_secs(30),
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
    let go = daemon.path().join("go");
    let text = format!(
        "echo all; exec >&- 2>&-; sleep 1; until [ -e {} ]; do sleep 0.05; done; exit 5",
        go.display()
    );
    let first = caller
        .run(Run {
            wait_ms: Some(300),
            ..script(&text)
        })
        .expect("user A has a grant");
    assert_eq!(first.state, State::Running, "{first:?}");
    std::fs::write(&go, "").expect("it is ours");
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

fn call(id: u64, text: &str) -> Value {
    json!({
        "jsonrpc": "2.0", "id": id, "method": "tools/call",
        "params": { "name": "run", "arguments": { "script": text, "wait_ms": 50_000 } },
    })
}

fn wait_until_started(daemon: &Daemon, count: usize) {
    until("all have started", || ids(daemon, "intent").len() >= count);
}

#[test]
fn jobs_of_killed_shim_reach_next_shim() {
    let daemon = Daemon::start(Options::default());
    let broker = daemon.broker().expect("there is a broker");
    daemon.is_well();
    let before = (open_descriptors(daemon.pid()), open_descriptors(broker));
    let shims: Vec<_> = (0..6)
        .map(|number| {
            let mut shim = daemon.session(&user_a());
            shim.send(&call(100, &format!("sleep 2; echo done {number}; exit 4")));
            shim
        })
        .collect();
    wait_until_started(&daemon, 7);
    for shim in &shims {
        kill(Pid::from_raw(shim.pid()), Signal::SIGKILL).expect("it lives");
    }
    assert!(shims.iter().all(|shim| ends_within(shim.pid(), 20_000)));
    drop(shims);

    let mut next = daemon.session(&user_a());
    let list = next.tool("job", &json!({}));
    let jobs: Vec<String> = list["structuredContent"]["jobs"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|job| job["job_id"].as_str().expect("an id").to_owned())
        .collect();
    assert_eq!(jobs.len(), 6, "{list}");
    let mut outputs: Vec<String> = jobs
        .iter()
        .map(|job| {
            let result = next.tool("job", &json!({ "job_id": job, "wait_ms": 50_000 }));
            let result = &result["structuredContent"];
            assert_eq!(
                (&result["state"], &result["exit"]),
                (&json!("exited"), &json!(4))
            );
            result["stdout"].as_str().expect("text").to_owned()
        })
        .collect();
    outputs.sort();
    let expected: Vec<String> = (0..6).map(|number| format!("done {number}\n")).collect();
    assert_eq!(outputs, expected);
    assert_eq!(next.close(), Some(0));
    daemon.is_well();
    let after = (
        descriptors_left(daemon.pid(), before.0 + 2),
        descriptors_left(broker, before.1 + 2),
    );
    assert!(
        after.0 <= before.0 + 2 && after.1 <= before.1 + 2,
        "from {before:?} to {after:?}"
    );
    daemon.stop();
}

#[test]
fn killed_shims_start_each_job_at_most_once() {
    let daemon = Daemon::start(Options::default());
    let started = 24;
    for number in 0..started {
        let mut shim = daemon.session(&user_a());
        shim.send(&call(100, &format!("echo {number}")));
        if number % 3 == 0 {
            std::thread::sleep(Duration::from_millis(number));
        }
        kill(Pid::from_raw(shim.pid()), Signal::SIGKILL).expect("it lives");
        drop(shim);
    }
    daemon.is_well();
    let mut caller = Caller::new(&daemon, &user_a());
    let Ok(Reply::Jobs(list)) = caller.ask(Request::Jobs { limit: 1000 }) else {
        panic!("no list");
    };
    assert!(list.len() as u64 <= started, "{list:?}");
    let mut outputs: Vec<String> = list
        .iter()
        .map(|job| {
            let report = caller.end_of(job.job_id);
            assert_eq!(report.state, State::Exited, "{report:?}");
            stdout(&report)
        })
        .collect();
    outputs.sort();
    outputs.dedup();
    assert_eq!(outputs.len(), list.len(), "{outputs:?}");
    let intents = ids(&daemon, "intent");
    assert_eq!(intents.len(), daemon.records("end").len());
    daemon.is_well();
    daemon.stop();
}

#[test]
fn a_forgotten_call_forgets_no_job() {
    let daemon = Daemon::start(one_slot());
    let holder = Holder::of(&daemon, &user_b());
    let mut stream = daemon.connect(&user_a()).expect("user A may connect");
    let say = |stream: &mut UnixStream, message: &FromClient| {
        frame::write(stream, message, caps::FRAME).expect("the daemon reads");
    };
    let hello = FromClient::Hello(Hello {
        protocol: PROTOCOL,
        client: "forgetful".into(),
    });
    say(&mut stream, &hello);
    let welcome = frame::read(&mut stream, caps::FRAME);
    assert!(
        matches!(welcome, Ok(ToClient::Welcome { .. })),
        "{welcome:?}"
    );
    let mut a = Caller::new(&daemon, &user_a());
    let request = Request::Run(script("echo ran"));
    say(&mut stream, &FromClient::Call { id: 1, request });
    let progress = frame::read(&mut stream, caps::FRAME);
    let Ok(ToClient::Progress { id: 1, progress }) = progress else {
        panic!("{progress:?}");
    };
    assert!(progress.queue_position.is_some(), "{progress:?}");
    say(&mut stream, &FromClient::Forget { id: 1 });
    say(&mut stream, &FromClient::Forget { id: 1 });
    say(&mut stream, &FromClient::Forget { id: 77 });
    let request = Request::Jobs { limit: 1 };
    say(&mut stream, &FromClient::Call { id: 1, request });
    let reply = loop {
        match frame::read(&mut stream, caps::FRAME) {
            Ok(ToClient::Progress { .. }) => {}
            other => break other,
        }
    };
    let Ok(ToClient::Reply {
        id: 1,
        reply: Ok(Reply::Jobs(jobs)),
    }) = reply
    else {
        panic!("{reply:?}");
    };
    assert_eq!(jobs[0].state, State::Queued, "{jobs:?}");
    holder.leave();
    assert_eq!(stdout(&a.end_of(jobs[0].job_id)), "ran\n");
    daemon.is_well();
    daemon.stop();
}
