//! An MCP client's view of its jobs while it waits and during restarts of the daemon, and of policy-defined commands:
//! `run`, `change` and `access`.

use nix::sys::signal::Signal;
use remit_tests::daemon::{Daemon, Options, user_a, user_b};
use remit_tests::process::ends_within;
use remit_tests::session::Session;
use serde_json::{Value, json};

const WAIT_MS: u32 = 50_000;

fn start(session: &mut Session, id: u64, script: &str) {
    session.send(&json!({
        "jsonrpc": "2.0", "id": id, "method": "tools/call",
        "params": {
            "name": "run",
            "arguments": { "script": script, "wait_ms": WAIT_MS },
            "_meta": { "progressToken": id },
        },
    }));
}

/// Reads progress of this call until it has this message. Progress must always increase.
fn wait_for_progress(session: &mut Session, id: u64, message: &str) {
    let mut last = 0.0;
    loop {
        let note = session.receive();
        assert_eq!(note["method"], "notifications/progress", "{note}");
        assert_eq!(note["params"]["progressToken"], id, "{note}");
        let progress = note["params"]["progress"].as_f64().expect("a number");
        assert!(progress > last, "{note}");
        last = progress;
        if note["params"]["message"] == message {
            return;
        }
    }
}

fn answered(session: &mut Session, id: u64) -> Value {
    loop {
        let message = session.receive();
        if message["id"] == id {
            let result = &message["result"];
            assert_eq!(result["isError"], false, "{message}");
            return result["structuredContent"].clone();
        }
        assert_eq!(message["method"], "notifications/progress", "{message}");
    }
}

fn jobs(session: &mut Session) -> Vec<Value> {
    let list = session.tool("job", &json!({}));
    let jobs = list["structuredContent"]["jobs"].as_array();
    jobs.expect("a list").clone()
}

fn stop(session: &mut Session, job: &Value) -> Value {
    let stopped = session.tool("job_stop", &json!({ "job_id": job["job_id"] }));
    stopped["structuredContent"].clone()
}

#[test]
fn cancelled_call_leaves_job_running() {
    let daemon = Daemon::start(Options::default());
    let mut session = daemon.session(&user_a());
    start(&mut session, 700, "echo begun; sleep 1000");
    wait_for_progress(&mut session, 700, "it wrote: begun");
    let params = json!({ "requestId": 700 });
    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params });
    session.send(&cancel);

    let list = jobs(&mut session);
    assert_eq!(list.len(), 1, "{list:?}");
    assert_eq!(list[0]["state"], "running");
    assert_eq!(daemon.records("end").len(), 0);
    let stopped = stop(&mut session, &list[0]);
    let facts = (&stopped["state"], &stopped["kill_verified"]);
    assert_eq!(facts, (&json!("cancelled"), &json!(true)), "{stopped}");
    session.send(&json!({ "jsonrpc": "2.0", "id": 701, "method": "ping" }));
    assert_eq!(session.receive()["id"], 701);
    assert_eq!(session.close(), Some(0));
    daemon.stop();
}

#[test]
fn queued_job_reports_position_then_output() {
    let daemon = Daemon::start(Options {
        jobs: 1,
        waiting: 10,
        ..Options::default()
    });
    let mut holder = daemon.session(&user_a());
    let first = holder.run(&json!({ "argv": ["sleep", "1000"], "wait_ms": 0 }));
    assert_eq!(first["state"], "running", "{first}");
    let mut session = daemon.session(&user_a());
    start(&mut session, 700, "echo its turn; sleep 1000");
    wait_for_progress(&mut session, 700, "waiting for a slot: number 1 of your 1");
    let list = jobs(&mut holder);
    assert_eq!(list[0]["state"], "queued", "{list:?}");
    let job = json!({ "job_id": list[0]["job_id"], "wait_ms": 0 });
    let job = holder.tool("job", &job)["structuredContent"].clone();
    assert_eq!(job["place"], json!({ "position": 1, "of": 1 }), "{job}");
    assert_eq!(job.get("enforced"), None, "{job}");

    assert_eq!(stop(&mut holder, &first)["state"], "cancelled");
    wait_for_progress(&mut session, 700, "it wrote: its turn");
    assert_eq!(stop(&mut holder, &list[0])["state"], "cancelled");
    let job = answered(&mut session, 700);
    let facts = (&job["state"], &job["stdout"], job.get("place"));
    let expect = (&json!("cancelled"), &json!("its turn\n"), None);
    assert_eq!(facts, expect, "{job}");
    assert!(job["waited_ms"].as_u64() > Some(0), "{job}");
    assert_eq!(session.close(), Some(0));
    assert_eq!(holder.close(), Some(0));
    daemon.stop();
}

#[test]
fn call_in_flight_gets_job_from_next_daemon() {
    let mut daemon = Daemon::start(Options::default());
    let mut session = daemon.session(&user_a());
    for id in [700, 701] {
        start(&mut session, id, "echo begun; sleep 1000");
        wait_for_progress(&mut session, id, "it wrote: begun");
        if id == 700 {
            daemon.signal(Signal::SIGKILL);
            assert!(ends_within(daemon.pid(), 20_000));
            daemon.restart();
        } else {
            daemon.restart_cleanly();
        }
        let job = answered(&mut session, id);
        let facts = (&job["state"], &job["stdout"]);
        assert_eq!(facts, (&json!("interrupted"), &json!("begun\n")), "{job}");
        assert!(job["cause"].is_string(), "{job}");
    }
    assert_eq!(daemon.records("intent").len(), 2, "something ran twice");
    assert_eq!(jobs(&mut session).len(), 2);
    assert_eq!(session.close(), Some(0));
    daemon.is_well();
    daemon.stop();
}

#[test]
fn output_is_searched_from_page_to_page() {
    let daemon = Daemon::start(Options::default());
    let mut session = daemon.session(&user_a());
    let script = "seq 1 20000; printf 'line 7\\033[2J\\n' >&2";
    let job = session.run(&json!({ "script": script }));
    assert_eq!(
        (&job["stdout_lines"], &job["truncated"]),
        (&json!(20_000), &json!(true))
    );
    let mut search = |arguments: Value| {
        let mut arguments = arguments;
        arguments["job_id"] = job["job_id"].clone();
        session.tool("job", &arguments)
    };

    let (mut lines, mut offset, mut pages) = (Vec::new(), json!(0), 0);
    loop {
        let found = search(json!({ "grep": "7$", "limit": 1000, "offset": offset }));
        let found = &found["structuredContent"]["matches"];
        lines.extend(found["lines"].as_array().expect("lines").clone());
        pages += 1;
        if found["eof"] == true {
            break;
        }
        offset = found["next"].clone();
    }
    let expect: Vec<Value> = (1..=20_000)
        .filter(|number| number % 10 == 7)
        .map(|number| json!(format!("{number}:{number}")))
        .collect();
    assert!(lines == expect && pages > 1, "{pages} pages: {lines:?}");

    let found = search(json!({ "grep": "^9$", "context": 1 }));
    let lines = &found["structuredContent"]["matches"]["lines"];
    assert_eq!(*lines, json!(["8-8", "9:9", "10-10"]), "{found}");
    let found = search(json!({ "grep": "LINE", "stream": "stderr" }));
    assert_eq!(found["structuredContent"]["matches"]["matching"], 0);
    let found = search(json!({ "grep": "(?i)LINE", "stream": "stderr" }));
    let matches = &found["structuredContent"]["matches"];
    assert_eq!(matches["lines"], json!(["1:line 7\\x1b[2J"]), "{found}");
    let refused = search(json!({ "grep": "(" }));
    let code = &refused["structuredContent"]["error"]["code"];
    assert_eq!(code, "invalid_args", "{refused}");
    assert_eq!(session.close(), Some(0));
    daemon.stop();
}

const COMMANDS: &str = r##"
[[command]]
name = "note.take"
summary = "Take a note"
argv = ["/usr/bin/cat"]
effect = "change"
profile = "read"
stdin = "caller"

[[command]]
name = "note.show"
summary = "Show words"
argv = ["/usr/bin/printf", "<%s>", "{words}", ["-n", "{count}"]]
effect = "read"
profile = "read"
args.words = { type = "string", pattern = "(?s).*", max = 64, repeat = 4 }
args.count = { type = "int", min = -9, max = 9, optional = true }

[[grant]]
name = "notes"
to = ["#64001"]
allow = ["note.*"]
effect = "change"
"##;

fn daemon() -> Daemon {
    let options = Options::default();
    let policy = options.policy.clone() + COMMANDS;
    Daemon::start(Options { policy, ..options })
}

fn ask(session: &mut Session, tool: &str, arguments: Value) -> Value {
    session.tool(tool, &arguments)["structuredContent"].clone()
}

#[test]
fn repeated_change_id_runs_once() {
    let daemon = daemon();
    let mut session = daemon.session(&user_a());
    let change = |reason: &str, stdin: &str| json!({ "name": "note.take", "reason": reason, "stdin": stdin, "request_id": "one" });
    let first = ask(&mut session, "change", change("new site", "hello"));
    assert_eq!(
        (&first["stdout"], &first["exit"]),
        (&json!("hello"), &json!(0)),
        "{first}"
    );
    let again = ask(&mut session, "change", change("new site", "hello"));
    assert_eq!(
        (&again["job_id"], &again["stdout"]),
        (&first["job_id"], &json!("hello"))
    );
    for other in [change("another", "hello"), change("new site", "other")] {
        let refused = ask(&mut session, "change", other);
        assert_eq!(refused["error"]["code"], "conflict_request_id", "{refused}");
    }
    assert_eq!(daemon.records("intent").len(), 1);
    for _ in 0..2 {
        let change = json!({ "name": "note.take", "reason": "more", "stdin": "x" });
        assert_eq!(ask(&mut session, "change", change)["stdout"], "x");
    }
    assert_eq!(daemon.records("intent").len(), 3);
    assert_eq!(session.close(), Some(0));
    daemon.stop();
}

#[test]
fn values_arrive_unchanged_in_order() {
    let daemon = daemon();
    let mut session = daemon.session(&user_a());
    for (args, stdout) in [
        (json!({ "words": ["b", "a", "b"] }), "<b><a><b>"),
        (
            json!({ "words": [7, true, "x y", "$(id);'\"\n"] }),
            "<7><true><x y><$(id);'\"\n>",
        ),
        (
            json!({ "words": "{words}%s", "count": -3 }),
            "<{words}%s><-n><-3>",
        ),
        (
            json!({ "words": "a\u{1f600}", "count": [] }),
            "<a\u{1f600}>",
        ),
    ] {
        let run = json!({ "name": "note.show", "args": args });
        let job = ask(&mut session, "run", run.clone());
        assert_eq!(job["stdout"], stdout, "{run}: {job}");
    }
    let ran = daemon.records("intent").len();
    for args in [
        json!({ "words": ["a", "b", "c", "d", "e"] }),
        json!({ "words": "a", "count": 10 }),
        json!({ "words": "a", "count": "03" }),
        json!({ "words": "a", "count": 3.0 }),
        json!({ "words": "a", "count": [1, 2] }),
        json!({ "words": "a\u{0}b" }),
        json!({ "words": "-n" }),
        json!({ "words": { "a": "b" } }),
        json!({ "words": null }),
        json!({ "words": "a", "unknown": "b" }),
    ] {
        let run = json!({ "name": "note.show", "args": args });
        let refused = ask(&mut session, "run", run.clone());
        assert_eq!(refused["error"]["code"], "invalid_args", "{run}: {refused}");
    }
    assert_eq!(daemon.records("intent").len(), ran, "something ran");
    assert_eq!(session.close(), Some(0));
    daemon.stop();
}

#[test]
fn each_tool_takes_the_commands_of_its_effect() {
    let daemon = daemon();
    let mut session = daemon.session(&user_a());
    let refused = ask(&mut session, "run", json!({ "name": "note.take" }));
    assert_eq!(refused["error"]["code"], "invalid_args", "{refused}");
    assert!(
        refused["error"]["next"].to_string().contains("change"),
        "{refused}"
    );
    let change = json!({ "name": "note.show", "args": { "words": "a" }, "reason": "why" });
    let refused = ask(&mut session, "change", change);
    assert_eq!(refused["error"]["code"], "invalid_args", "{refused}");
    assert!(
        refused["error"]["next"].to_string().contains("run"),
        "{refused}"
    );
    let change = json!({ "name": "service.failed", "reason": "why" });
    let refused = ask(&mut session, "change", change);
    assert_eq!(refused["error"]["code"], "invalid_args", "{refused}");
    assert_eq!(daemon.records("intent").len(), 0, "something ran");
    assert_eq!(session.close(), Some(0));
    daemon.stop();
}

#[test]
fn access_lists_only_commands_of_caller() {
    let daemon = daemon();
    let (mut owner, mut stranger) = (daemon.session(&user_a()), daemon.session(&user_b()));
    let usages = |report: &Value| -> Vec<String> {
        let commands = report["commands"].as_array().into_iter().flatten();
        let usage = |command: &Value| command["usage"].as_str().expect("a text").to_owned();
        commands.map(usage).collect()
    };
    let found = ask(&mut owner, "access", json!({ "query": "NOTE" }));
    let named = usages(&found);
    assert_eq!(named.len(), 2, "{found}");
    assert!(
        named.iter().all(|usage| usage.starts_with("note.")),
        "{named:?}"
    );
    let one = ask(&mut owner, "access", json!({ "name": "note.take" }));
    assert_eq!(
        (&one["asked"]["allowed"], &one["commands"][0]["effect"]),
        (&json!(true), &json!("change"))
    );
    assert!(usages(&ask(&mut stranger, "access", json!({ "query": "note" }))).is_empty());

    // A command that the caller may not use looks like one that does not exist, except for the name.
    for (tool, arguments) in [
        ("access", json!({})),
        ("run", json!({ "args": { "words": ["a"] } })),
        (
            "change",
            json!({ "reason": "why", "stdin": "x", "args": { "x": 1 } }),
        ),
    ] {
        let mut answers = ["note.show", "note.take", "note.none"].map(|name| {
            let mut arguments = arguments.clone();
            arguments["name"] = json!(name);
            let answer = ask(&mut stranger, tool, arguments);
            assert_eq!(answer["error"]["code"], "not_found", "{answer}");
            answer.to_string().replace(name, "NAME")
        });
        answers.sort_unstable();
        assert_eq!(answers[0], answers[2], "{tool} {arguments}");
    }
    assert_eq!(daemon.records("intent").len(), 0, "something ran");
    assert_eq!((owner.close(), stranger.close()), (Some(0), Some(0)));
    daemon.stop();
}
