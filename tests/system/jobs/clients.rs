//! Killed shims: their jobs go on, and nothing of the shims is left.

use std::os::unix::net::UnixStream;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_common::{caps, frame};
use remit_tests::caller::{Caller, script, stdout};
use remit_tests::daemon::{Daemon, Options, descriptors_left, open_descriptors, user_a, user_b};
use remit_tests::process::ends_within;
use remit_wire::outcome::State;
use remit_wire::{FromClient, Hello, PROTOCOL, Reply, Request, ToClient};
use serde_json::{Value, json};

use super::scene::{Holder, ids, one_slot};

fn call(id: u64, text: &str) -> Value {
    json!({
        "jsonrpc": "2.0", "id": id, "method": "tools/call",
        "params": { "name": "run", "arguments": { "script": text, "wait_ms": 50_000 } },
    })
}

fn wait_until_started(daemon: &Daemon, count: usize) {
    let have_started = (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        ids(daemon, "intent").len() >= count
    });
    assert!(have_started, "{} of {count}", ids(daemon, "intent").len());
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
