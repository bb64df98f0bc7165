//! Shims that are killed: what they asked for goes on, and nothing of them is left.

use std::os::unix::net::UnixStream;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_common::outcome::State;
use remit_common::wire::{FromClient, Hello, PROTOCOL, Reply, Request, ToClient};
use remit_common::{caps, frame};
use remit_tests::caller::{Caller, script, stdout};
use remit_tests::daemon::{Daemon, Options, descriptors_left, open_descriptors, user_a, user_b};
use remit_tests::process::ends_within;
use serde_json::{Value, json};

use super::scene::{Holder, ids, one_place};

fn call(id: u64, text: &str) -> Value {
    json!({
        "jsonrpc": "2.0", "id": id, "method": "tools/call",
        "params": { "name": "run", "arguments": { "script": text, "wait_ms": 50_000 } },
    })
}

/// Waits until so many jobs were recorded.
fn until_begun(daemon: &Daemon, count: usize) {
    let begun = (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        ids(daemon, "intent").len() >= count
    });
    assert!(begun, "{} of {count}", ids(daemon, "intent").len());
}

#[test]
fn a_killed_shim_leaves_its_jobs_to_the_next_one() {
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
    until_begun(&daemon, 7);
    for shim in &shims {
        kill(Pid::from_raw(shim.pid()), Signal::SIGKILL).expect("it lives");
    }
    assert!(shims.iter().all(|shim| ends_within(shim.pid(), 5000)));
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
            let told = next.tool("job", &json!({ "job_id": job, "wait_ms": 50_000 }));
            let told = &told["structuredContent"];
            assert_eq!(
                (&told["state"], &told["exit"]),
                (&json!("exited"), &json!(4))
            );
            told["stdout"].as_str().expect("text").to_owned()
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

/// Killed in the middle of everything: half a call written, an answer half read, a call that was just sent.
#[test]
fn shims_killed_at_any_time_start_each_job_once_at_most() {
    let daemon = Daemon::start(Options::default());
    let started = 24;
    for number in 0..started {
        let mut shim = daemon.session(&user_a());
        shim.send(&call(100, &format!("echo {number}")));
        if number % 3 == 0 {
            // The answer is on its way.
            std::thread::sleep(std::time::Duration::from_millis(number));
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

/// A client that no longer waits: its call is forgotten, the job is not, wherever it is.
#[test]
fn a_forgotten_call_forgets_no_job() {
    let daemon = Daemon::start(one_place());
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
    // The sign of life says that it waits.
    let progress = frame::read(&mut stream, caps::FRAME);
    let Ok(ToClient::Progress { id: 1, progress }) = progress else {
        panic!("{progress:?}");
    };
    assert!(progress.place.is_some(), "{progress:?}");
    say(&mut stream, &FromClient::Forget { id: 1 });
    // Twice, and one that never was, is nothing.
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
