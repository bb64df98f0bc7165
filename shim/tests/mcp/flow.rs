//! Calls in flight: cancellation, progress, bounds, the end.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{ChildStdin, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use remit_wire::outcome::QueuePosition;
use remit_wire::{Bytes, Progress, Request, ToClient, What};
use serde_json::json;

use crate::daemon::{Daemon, Seen, answer, ended};
use crate::pipe::{Shim, command, modern, with_token};

const SECOND: Duration = Duration::from_secs(1);

fn session(daemon: &Daemon) -> Shim {
    let mut shim = Shim::start(&daemon.socket());
    shim.initialize("2025-11-25");
    shim
}

fn forgotten(daemon: &Daemon) -> u32 {
    loop {
        match daemon.next() {
            Seen::Forget(id) => return id,
            Seen::Closed => panic!("the connection ended"),
            Seen::Hello(_) | Seen::Call(..) => {}
        }
    }
}

#[test]
fn a_cancelled_call_is_forgotten_and_never_answered() {
    for modern_era in [false, true] {
        let daemon = Daemon::silent();
        let mut shim = Shim::start(&daemon.socket());
        let params = json!({"name": "run", "arguments": {"argv": ["a"]}});
        if modern_era {
            shim.request(9, "tools/call", modern(params));
        } else {
            shim.initialize("2025-11-25");
            shim.request(9, "tools/call", params);
        }
        let (id, _) = daemon.next_call();
        shim.cancel(9);
        assert_eq!(forgotten(&daemon), id);
        daemon.answer(id, ended(b"late"));
        shim.nothing_more();
    }
}

#[test]
fn cancelled_id_is_usable_again_at_once() {
    let daemon = Daemon::silent();
    let mut shim = session(&daemon);
    for round in 0..20 {
        shim.call(9, "run", json!({"argv": ["old"]}));
        let (old, _) = daemon.next_call();
        shim.cancel(9);
        shim.call(9, "run", json!({"argv": ["new"]}));
        assert_eq!(forgotten(&daemon), old);
        let (new, _) = daemon.next_call();
        daemon.answer(old, ended(b"old"));
        daemon.answer(new, ended(b"new"));
        let answer = shim.next();
        assert_eq!(answer["id"], 9);
        let job = &answer["result"]["structuredContent"];
        assert_eq!(job["stdout"], "new", "round {round}");
        shim.nothing_more();
    }
}

#[test]
fn cancellation_of_ended_or_unknown_is_ignored() {
    let daemon = Daemon::start(|_| answer(ended(b"")));
    let mut shim = session(&daemon);
    shim.call(1, "run", json!({"argv": ["a"]}));
    shim.next();
    for id in [json!(1), json!("1"), json!(99), json!("init")] {
        shim.cancel(id);
    }
    shim.nothing_more();
    shim.call(1, "run", json!({"argv": ["a"]}));
    assert_eq!(shim.next()["id"], 1);
}

#[test]
fn probe_cancelled_at_once_is_answered() {
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
        "params": {"requestId": 1}});
    for _ in 0..20 {
        let mut shim = Shim::alone();
        for method in ["server/discover", "tools/list", "ping", "tools/list"] {
            let params = match method {
                "tools/list" => json!({}),
                _ => modern(json!({})),
            };
            let probe = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
            shim.raw(format!("{probe}\n{cancel}\n{cancel}\n").as_bytes());
            assert_eq!(shim.next()["id"], 1);
        }
        shim.initialize("2025-11-25");
    }
}

#[test]
fn initialize_is_answered_even_if_cancelled() {
    let mut shim = Shim::alone();
    shim.cancel(1);
    shim.request(
        1,
        "initialize",
        crate::pipe::initialize_params("2025-11-25"),
    );
    shim.cancel(1);
    assert_eq!(shim.next()["id"], 1);
    shim.nothing_more();
}

#[test]
fn duplicate_id_is_refused_and_first_answered() {
    let daemon = Daemon::silent();
    let mut shim = session(&daemon);
    for id in [json!(7), json!("seven")] {
        shim.call(id.clone(), "run", json!({"argv": ["a"]}));
        let (call, _) = daemon.next_call();
        for method in ["tools/call", "ping", "initialize"] {
            let params = json!({"name": "run", "arguments": {"argv": ["b"]},
                "protocolVersion": "2025-11-25", "capabilities": {},
                "clientInfo": {"name": "x", "version": "1"}});
            shim.request(id.clone(), method, params);
            let answer = shim.next();
            assert_eq!(answer["error"]["code"], -32600, "{method}: {answer}");
            assert_eq!(answer["id"], id);
        }
        daemon.answer(call, ended(b"first"));
        let answer = shim.next();
        assert_eq!(answer["id"], id);
        assert_eq!(answer["result"]["structuredContent"]["stdout"], "first");
    }
    // The same digits as text are another id.
    shim.call(1, "run", json!({"argv": ["a"]}));
    shim.call("1", "run", json!({"argv": ["a"]}));
    for _ in 0..2 {
        let (call, _) = daemon.next_call();
        daemon.answer(call, ended(b""));
    }
    let mut ids = [shim.next()["id"].clone(), shim.next()["id"].clone()];
    ids.sort_by_key(ToString::to_string);
    assert_eq!(ids, [json!("1"), json!(1)]);
}

#[test]
fn pings_and_cancellations_pass_waiting_calls() {
    let daemon = Daemon::silent();
    let mut shim = session(&daemon);
    for id in 0..40 {
        shim.call(id, "run", json!({"argv": ["a"]}));
    }
    let calls: Vec<u32> = (0..32).map(|_| daemon.next_call().0).collect();
    shim.request("list", "tools/list", json!({}));
    assert_eq!(shim.next()["id"], "list");
    shim.nothing_more();
    assert!(daemon.untouched(), "the others wait");
    shim.cancel(5);
    shim.cancel(35);
    assert_eq!(forgotten(&daemon), calls[5]);
    let mut last = vec![daemon.next_call().0];
    for call in calls
        .iter()
        .enumerate()
        .filter(|(queue_position, _)| *queue_position != 5)
    {
        daemon.answer(*call.1, ended(b""));
    }
    last.extend((0..6).map(|_| daemon.next_call().0));
    for call in last {
        daemon.answer(call, ended(b""));
    }
    let mut ids: Vec<u64> = (0..38)
        .map(|_| shim.next()["id"].as_u64().unwrap())
        .collect();
    ids.sort_unstable();
    let expect: Vec<u64> = (0..40).filter(|id| ![5, 35].contains(id)).collect();
    assert_eq!(ids, expect);
    shim.nothing_more();
}

#[test]
fn calls_above_bound_are_busy_and_later_lines_are_read() {
    let daemon = Daemon::silent();
    let mut shim = session(&daemon);
    for id in 0..64 {
        shim.call(id, "run", json!({"argv": ["a"]}));
    }
    let params = |name: &str| json!({"name": name, "arguments": {"argv": ["a"]}, "task": {}});
    for era in ["legacy", "modern", "library"] {
        match era {
            "legacy" => shim.call(64, "run", json!({"argv": ["a"]})),
            "modern" => shim.request(64, "tools/call", modern(params("run"))),
            _ => shim.request(64, "tools/call", params("run")),
        }
        let answer = shim.next();
        assert_eq!(answer["id"], 64, "{era}: {answer}");
        let result = &answer["result"];
        assert_eq!(result["isError"], true, "{era}: {answer}");
        assert_eq!(result["structuredContent"]["error"]["code"], "busy");
        let result_type = (era == "modern").then_some("complete");
        assert_eq!(result["resultType"].as_str(), result_type, "{era}");
        shim.nothing_more();
    }
    shim.cancel(63);
    shim.call(65, "run", json!({"argv": ["last"]}));
    shim.nothing_more();
    let calls = (0..32).map(|_| daemon.next_call().0);
    for call in calls.collect::<Vec<_>>() {
        daemon.answer(call, ended(b""));
    }
    let more: Vec<Request> = (0..32).map(|_| daemon.next_call().1).collect();
    let Some(Request::Run(last)) = more.last() else {
        panic!("{more:?}");
    };
    assert_eq!(last.what, What::Argv(vec![Bytes::from(b"last".to_vec())]));
}

#[test]
fn progress_increases_until_the_answer() {
    let daemon = Daemon::silent();
    let mut shim = session(&daemon);
    let arguments = json!({"argv": ["a"]});
    shim.request(1, "tools/call", with_token("run", arguments.clone(), "t"));
    let (id, _) = daemon.next_call();
    let third = Some(QueuePosition { position: 3, of: 7 });
    for (queue_position, line) in [
        (third, ""),
        (None, "one"),
        (None, "two"),
        (None, "three\u{1b}[2J"),
        (None, "running for 3 s"),
    ] {
        daemon.send(&ToClient::Progress {
            id,
            progress: Progress {
                elapsed_ms: 0,
                queue_position,
                output_bytes: 9,
                last_line: line.to_owned(),
            },
        });
    }
    let mut last = 0.0;
    let waiting = "waiting for a slot: number 3 of your 7";
    let wrote = "it wrote: running for 3 s";
    let lines = ["it wrote: one", "it wrote: two", "it wrote: three\\x1b[2J"];
    for message in [waiting].into_iter().chain(lines).chain([wrote]) {
        let note = shim.next();
        assert_eq!(note["method"], "notifications/progress", "{note}");
        assert_eq!(note["params"]["progressToken"], "t");
        assert_eq!(note["params"]["message"], message);
        let progress = note["params"]["progress"].as_f64().unwrap();
        assert!(progress > last);
        last = progress;
    }
    // The shim's own clock continues while the daemon is silent.
    let note = shim.next();
    assert_eq!(note["params"]["message"], wrote);
    assert!(note["params"]["progress"].as_f64().unwrap() > last + 1.0);
    daemon.answer(id, ended(b""));
    assert_eq!(shim.next()["id"], 1);
    daemon.send(&ToClient::Progress {
        id,
        progress: Progress {
            elapsed_ms: 9,
            queue_position: None,
            output_bytes: 9,
            last_line: "late".to_owned(),
        },
    });
    shim.call(2, "run", arguments);
    let (id, _) = daemon.next_call();
    daemon.send(&ToClient::Progress {
        id,
        progress: Progress {
            elapsed_ms: 9,
            queue_position: None,
            output_bytes: 9,
            last_line: "nobody asked".to_owned(),
        },
    });
    daemon.answer(id, ended(b""));
    assert_eq!(shim.next()["id"], 2, "no progress without a token");
    shim.nothing_more();
}

#[test]
fn end_of_input_ends_shim_soon() {
    let daemon = Daemon::silent();
    type Prepare = fn(&mut Shim, &Daemon);
    let cases: [(&str, Prepare); 6] = [
        ("fresh", |_, _| {}),
        ("half a line", |shim, _| shim.raw(b"{\"jsonrpc\"")),
        ("session", |shim, _| {
            shim.initialize("2025-11-25");
        }),
        ("after discover", |shim, _| {
            shim.request(1, "server/discover", modern(json!({})));
            shim.next();
        }),
        ("call in flight", |shim, daemon| {
            shim.initialize("2025-11-25");
            shim.call(1, "run", json!({"argv": ["a"]}));
            daemon.next_call();
        }),
        ("calls in flight and waiting", |shim, daemon| {
            shim.request(0, "tools/call", modern(json!({"name": "host"})));
            for id in 1..50 {
                shim.request(id, "tools/call", modern(json!({"name": "host"})));
            }
            for _ in 0..32 {
                daemon.next_call();
            }
        }),
    ];
    for (name, prepare) in cases {
        let mut shim = Shim::start(&daemon.socket());
        prepare(&mut shim, &daemon);
        let (status, time, _) = shim.close();
        assert_eq!(status.code(), Some(0), "{name}");
        assert!(time < 10 * SECOND, "{name}: {time:?}");
    }
}

#[test]
fn requests_before_end_of_input_are_answered() {
    let daemon = Daemon::start(|_| answer(ended(b"done")));
    let mut shim = Shim::start(&daemon.socket());
    shim.request(
        1,
        "initialize",
        crate::pipe::initialize_params("2025-11-25"),
    );
    for id in 2..100 {
        shim.call(id, "run", json!({"argv": ["a"]}));
    }
    shim.raw(br#"{"jsonrpc":"2.0","id":100,"method":"tools/call","params":{"name":"host"}}"#);
    let (status, time, rest) = shim.close();
    assert!(status.success() && time < 10 * SECOND, "{time:?}");
    let mut ids: Vec<_> = rest
        .iter()
        .map(|answer| answer["id"].as_u64().unwrap())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=100).collect::<Vec<_>>());
}

#[test]
fn lost_reader_ends_shim_idle_or_not() {
    for busy in [false, true] {
        let daemon = Daemon::silent();
        let (mut shim, mut stdout) = Shim::unread(&daemon.socket());
        shim.request(
            1,
            "initialize",
            crate::pipe::initialize_params("2025-11-25"),
        );
        if busy {
            shim.call(2, "run", json!({"argv": ["a"]}));
            daemon.next_call();
        }
        assert!(stdout.read(&mut [0; 10]).unwrap() > 0);
        let start = Instant::now();
        drop(stdout);
        assert_eq!(shim.exit_code(), Some(0));
        assert!(start.elapsed() < 10 * SECOND, "{:?}", start.elapsed());
    }
}

#[test]
fn sockets_and_files_serve_as_ends_too() {
    let (local_end, child_end) = UnixStream::pair().unwrap();
    let mut child = command(&[])
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(
            child_end.try_clone().unwrap(),
        )))
        .stdout(Stdio::from(std::os::fd::OwnedFd::from(child_end)))
        .spawn()
        .unwrap();
    let mut local_end = local_end;
    local_end
        .write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n")
        .unwrap();
    let mut answer = [0; 5];
    local_end.read_exact(&mut answer).unwrap();
    let start = Instant::now();
    drop(local_end);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(start.elapsed() < 10 * SECOND);

    let path = std::env::temp_dir().join(format!("mcp-shim-file-{}", std::process::id()));
    std::fs::write(&path, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}").unwrap();
    let output = std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap();
    let status = command(&[])
        .stdin(std::fs::File::open("/dev/null").unwrap())
        .stdout(output.try_clone().unwrap())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
    let status = command(&[])
        .stdin(std::fs::File::open(&path).unwrap())
        .stdout(std::fs::File::create(path.with_extension("out")).unwrap())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
    let written = std::fs::read_to_string(path.with_extension("out")).unwrap();
    assert!(written.contains("\"id\":1"), "{written}");
    std::fs::remove_file(path.with_extension("out")).unwrap();
    std::fs::remove_file(path).unwrap();
}

#[test]
fn full_disk_at_stdout_is_an_error() {
    let mut child = command(&[])
        .stdout(
            std::fs::OpenOptions::new()
                .write(true)
                .open("/dev/full")
                .unwrap(),
        )
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert_eq!(output.status.code(), Some(74));
    assert!(String::from_utf8(output.stderr).unwrap().contains("stdout"));
}

#[test]
fn slow_reader_loses_nothing_in_bounded_memory() {
    const CALLS: u64 = 120;
    let long = "\u{1f600}".repeat(6000);
    let daemon = Daemon::start(move |_| answer(ended(long.as_bytes())));
    let (mut shim, stdout) = Shim::unread(&daemon.socket());
    let mut stdin = shim.take_stdin();
    let writer = thread::spawn(move || {
        let init = json!({"jsonrpc": "2.0", "id": CALLS, "method": "initialize",
            "params": crate::pipe::initialize_params("2025-11-25")});
        writeln!(stdin, "{init}").unwrap();
        let input = "x".repeat(1_000_000);
        for id in 0..CALLS {
            let params = json!({"name": "run", "arguments": {"argv": ["a"], "stdin": input}});
            let call =
                json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
            writeln!(stdin, "{call}").unwrap();
        }
        stdin
    });
    // Nobody reads the answers, so input stops long before the last call.
    let mut calls = 0;
    let patience = |calls| SECOND * if calls < 8 { 60 } else { 1 };
    while let Some(seen) = daemon.next_within(patience(calls)) {
        calls += u64::from(matches!(seen, Seen::Call(_, Request::Run(_))));
    }
    assert!((8..100).contains(&calls), "{calls}");
    assert!(!writer.is_finished());
    shim.read(stdout);
    let mut ids: Vec<u64> = (0..=CALLS)
        .map(|_| shim.next()["id"].as_u64().unwrap())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..=CALLS).collect::<Vec<_>>());
    // Open input keeps the process alive for the measurement.
    let _stdin = writer.join().unwrap();
    assert!(
        shim.peak_memory() < 64 << 20,
        "{} bytes",
        shim.peak_memory()
    );
}

#[test]
fn flood_of_unread_answers_costs_bounded_memory() {
    const LINES: usize = 10_000;
    for line in [
        "{\"jsonrpc\":\"2.0\",\"id\":ID,\"method\":\"tools/list\"}\n",
        "{\"jsonrpc\":\"2.0\",\"id\":ID,\"method\":\"nope\"}\n",
        "{\"jsonrpc\":\"2.0\",\"id\":ID,\"method\":\"tools/call\",\"params\":{\"name\":\"run\"}}\n",
        "garbage ID and so on and so on\n",
    ] {
        let (mut shim, stdout) = Shim::unread("/nonexistent/remit.sock");
        shim.request(
            "init",
            "initialize",
            crate::pipe::initialize_params("2025-11-25"),
        );
        let (writer, written) = flood(&mut shim, line, LINES);
        while written.recv_timeout(SECOND).is_ok() {}
        assert!(!writer.is_finished(), "it does not stop reading: {line}");
        shim.read(stdout);
        for _ in 0..=LINES {
            shim.next();
        }
        let _stdin = writer.join().unwrap();
        assert!(
            shim.peak_memory() < 64 << 20,
            "{} bytes",
            shim.peak_memory()
        );
    }
}

fn flood(shim: &mut Shim, line: &str, lines: usize) -> (JoinHandle<ChildStdin>, Receiver<()>) {
    let (line, mut stdin) = (line.to_owned(), shim.take_stdin());
    let (sender, written) = mpsc::channel();
    let writer = thread::spawn(move || {
        for id in 0..lines {
            let _ = stdin.write_all(line.replace("ID", &id.to_string()).as_bytes());
            let _ = sender.send(());
        }
        stdin
    });
    (writer, written)
}

#[test]
fn end_of_input_is_seen_after_unread_lines() {
    let daemon = Daemon::silent();
    let mut shim = session(&daemon);
    for id in 0..200 {
        shim.call(id, "run", json!({"argv": ["a"]}));
    }
    for _ in 0..32 {
        daemon.next_call();
    }
    let (status, time, _) = shim.close();
    assert!(status.success() && time < 10 * SECOND, "{time:?}");

    let (mut shim, stdout) = Shim::unread("/nonexistent/remit.sock");
    let lines = 3000;
    let (writer, written) = flood(&mut shim, "garbage ID\n", lines);
    (0..lines).for_each(|_| written.recv().unwrap());
    let stdin = writer.join().unwrap();
    let start = Instant::now();
    drop(stdin);
    assert_eq!(shim.exit_code(), Some(0));
    assert!(start.elapsed() < 10 * SECOND, "{:?}", start.elapsed());
    drop(stdout);
}

#[test]
fn huge_lines_cost_bounded_memory() {
    let mut shim = Shim::alone();
    shim.initialize("2025-11-25");
    let mut long = vec![b' '; 32 << 20];
    long.push(b'\n');
    shim.raw(&long);
    assert_eq!(shim.next()["error"]["code"], -32600);
    let values = format!("[{}0]", "{\"a\":0},".repeat(20_000));
    let params = json!({"name": "run", "arguments": {"argv": 1}}).to_string();
    let params = params.replace("1}", &format!("{values}}}"));
    for _ in 0..8 {
        shim.raw(
            format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{params}}}\n"
            )
            .as_bytes(),
        );
        assert_eq!(shim.next()["result"]["isError"], true);
    }
    assert!(
        shim.peak_memory() < 64 << 20,
        "{} bytes",
        shim.peak_memory()
    );
    assert!(shim.threads() <= 3);
}
