//! Connections that are lost, calls that are cancelled, and the end of the client.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_tests::daemon::Daemon;
use serde_json::json;

use crate::stage::{NONE, RELEASE, Stage, canned, changing, daemon, ran, shim};

/// A host whose sessions write their pid.
fn with_pids(stage: &Stage, daemon: &Daemon) {
    let note = "echo $$ >>\"$dir/hosts/.pids\"\n";
    stage.set_host("web1", &format!("{note}{}", shim(daemon)));
}

fn pids(stage: &Stage) -> Vec<i32> {
    let text = fs::read_to_string(stage.path().join("hosts/.pids")).unwrap_or_default();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn is_gone(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_err()
}

#[test]
fn call_is_repeated_after_a_lost_connection_and_runs_once() {
    let daemon = daemon();
    let stage = Stage::new(&["web1"]);
    with_pids(&stage, &daemon);
    let mut client = stage.client();
    // Until the test writes the file, the job waits.
    let go = daemon.path().join("go");
    let script = format!(
        "while [ ! -e '{}' ]; do sleep 0.05; done; echo done",
        go.display()
    );
    let id = client.start_tool("run", json!({"script": script, "wait_ms": 50_000}));
    wait_until("the job starts", || daemon.records("intent").len() == 1);
    kill(Pid::from_raw(pids(&stage)[0]), Signal::SIGKILL).unwrap();
    wait_until("a second login", || pids(&stage).len() == 2);
    daemon.set_file("go", "");
    let answer = client.answer(id);
    let data = &answer["result"]["structuredContent"];
    assert_eq!(
        (&data["stdout"], &data["exit"]),
        (&json!("done\n"), &json!(0)),
        "{answer}"
    );
    assert_eq!(daemon.records("intent").len(), 1);
    // Between calls, too.
    kill(Pid::from_raw(pids(&stage)[1]), Signal::SIGKILL).unwrap();
    wait_until("it is gone", || is_gone(pids(&stage)[1]));
    assert_eq!(
        client.data("run", json!({"argv": ["echo", "a"]}))["stdout"],
        "a\n"
    );
    assert_eq!(pids(&stage).len(), 3);
}

#[test]
fn connection_that_is_lost_twice_names_the_request() {
    let daemon = daemon();
    let stage = Stage::new(&["web1"]);
    with_pids(&stage, &daemon);
    let mut client = stage.client();
    let id = client.start_tool(
        "run",
        json!({"argv": ["sleep", "1000"], "wait_ms": 50_000, "request_id": "mine"}),
    );
    for session in 0..2 {
        wait_until("a session", || pids(&stage).len() > session);
        wait_until("the job starts", || daemon.records("intent").len() == 1);
        kill(Pid::from_raw(pids(&stage)[session]), Signal::SIGKILL).unwrap();
    }
    let answer = client.answer(id)["result"]["structuredContent"].clone();
    let why = answer["error"]["message"].as_str().unwrap();
    assert!(
        why.contains("the connection was lost") && why.contains("request_id 'mine'"),
        "{why}"
    );
    // The same call gives that same job.
    let again = client.data(
        "run",
        json!({"argv": ["sleep", "1000"], "wait_ms": 0, "request_id": "mine"}),
    );
    assert_eq!(again["state"], "running", "{again}");
    assert_eq!(daemon.records("intent").len(), 1);
    client.data("job_stop", json!({"job_id": again["job_id"]}));
}

/// The host has the request: another answer would be a guess, and the rest of the set depends on it.
#[test]
fn change_of_a_set_is_sent_until_the_host_says_what_became_of_it() {
    let daemon = changing("/usr/bin/yes", NONE);
    let stage = Stage::new(&["web1", "web2"]);
    with_pids(&stage, &daemon);
    stage.set_real("web2", &daemon);
    let mut client = stage.client();
    let call =
        json!({"on": "*", "name": "site.switch", "args": {"to": "a"}, "reason": "x", "wait_ms": 0});
    let set = client.data("change", call)["set"].clone();
    for session in 0..3 {
        wait_until("a session", || pids(&stage).len() > session);
        wait_until("the job starts", || daemon.records("intent").len() == 1);
        kill(Pid::from_raw(pids(&stage)[session]), Signal::SIGKILL).unwrap();
    }
    wait_until("a fourth session", || pids(&stage).len() == 4);
    let state = client.data("job", json!({"set": set, "wait_ms": 0}));
    assert_eq!(
        (&state["state"], &state["not_sent"]),
        (&json!("running"), &json!(["web2"])),
        "{state}"
    );
    assert_eq!(daemon.records("intent").len(), 1);
}

/// As after sleep of this computer: the connection is open, and nobody answers.
#[test]
fn idle_session_that_is_dead_is_replaced() {
    let daemon = daemon();
    let mut stage = Stage::new(&["web1"]);
    stage.set_limits("connect_s = 10\nidle_s = 1");
    stage.set_fleet("[hosts]\ninclude = [\"web1\"]\n");
    with_pids(&stage, &daemon);
    let mut client = stage.client();
    client.data("access", json!({}));
    std::thread::sleep(Duration::from_millis(1100));
    // One that answers goes on.
    client.data("access", json!({}));
    assert_eq!(pids(&stage).len(), 1);
    let dead = Pid::from_raw(pids(&stage)[0]);
    kill(dead, Signal::SIGSTOP).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    let data = client.data("run", json!({"argv": ["echo", "a"]}));
    assert_eq!(data["stdout"], "a\n");
    assert_eq!(pids(&stage).len(), 2);
    wait_until("it is gone", || is_gone(dead.as_raw()));
}

#[test]
fn cancelled_call_leaves_the_job_and_the_session() {
    let daemon = daemon();
    let stage = Stage::new(&["web1"]);
    with_pids(&stage, &daemon);
    let mut client = stage.client();
    let id = client.start_request(
        "tools/call",
        json!({
            "name": "run", "arguments": {"script": "echo begun; sleep 1000", "wait_ms": 50_000},
            "_meta": {"progressToken": 1},
        }),
    );
    // The list of jobs has it once it has written something.
    while client.receive()["params"]["message"] != "it wrote: begun" {}
    client.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}));
    let jobs = client.data("job", json!({}));
    let job = &jobs["jobs"][0];
    assert_eq!(job["state"], "running", "{jobs}");
    client.data("job_stop", json!({"job_id": job["job_id"]}));
    assert_eq!(pids(&stage).len(), 1);
}

#[test]
fn host_hears_of_a_cancelled_call() {
    let stage = Stage::new(&["web1"]);
    // It notes each line, and answers no call.
    let host = canned("remit", RELEASE, &ran("x"))
        .replace(
            "case $line",
            "echo \"$line\" >>\"$dir/hosts/.lines\"\ncase $line",
        )
        .replace("*'\"method\":\"tools/call\"'*", "never");
    stage.set_host("web1", &host);
    let has_line = |part: &str| {
        let lines = fs::read_to_string(stage.path().join("hosts/.lines")).unwrap_or_default();
        lines.lines().any(|line| line.contains(part))
    };
    let mut client = stage.client();
    let id = client.start_tool("access", json!({}));
    wait_until("the call arrives", || has_line("tools/call"));
    client.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}));
    wait_until("it hears", || has_line("notifications/cancelled"));
    assert_eq!(client.request("ping", json!({}))["result"], json!({}));
}

#[test]
fn end_of_input_ends_the_program_and_its_sessions() {
    let daemon = daemon();
    let stage = Stage::new(&["web1"]);
    with_pids(&stage, &daemon);
    let mut client = stage.client();
    client.data("access", json!({}));
    client.start_tool("run", json!({"argv": ["sleep", "1000"], "wait_ms": 50_000}));
    wait_until("the job starts", || daemon.records("intent").len() == 1);
    let (status, rest) = client.close();
    assert_eq!((status.code(), rest.len()), (Some(0), 0), "{rest:?}");
    wait_until("the session ends", || is_gone(pids(&stage)[0]));
}
