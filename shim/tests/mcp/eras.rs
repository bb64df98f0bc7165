//! The protocol revisions and both ways to start, over every kind of stdin and stdout, with and without the library.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write, pipe};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::daemon::{Daemon, answer, ended};
use crate::pipe::{Shim, command, initialize_params, modern};

const LEGACY: [&str; 3] = ["2024-11-05", "2025-06-18", "2025-11-25"];

#[test]
fn initialize_agrees_on_the_revision_asked_for() {
    for version in LEGACY {
        let mut shim = Shim::alone();
        let result = shim.initialize(version);
        assert_eq!(result["protocolVersion"], version);
        assert_eq!(result["serverInfo"]["name"], "remit");
        assert_eq!(result["capabilities"], json!({"tools": {}}));
        let instructions = result["instructions"].as_str().unwrap();
        assert!(instructions.starts_with("Root-safe access"));
        assert!(instructions.len() <= 2048);
        assert!(shim.close().0.success());
    }
}

#[test]
fn initialize_with_unknown_revision_gets_newest_legacy() {
    for version in ["2026-07-28", "2024-10-07", "2099-01-01", "", "garbage"] {
        let result = Shim::alone().initialize(version);
        assert_eq!(result["protocolVersion"], "2025-11-25", "{version}");
    }
}

#[test]
fn revision_with_batches_gets_the_one_before() {
    let mut shim = Shim::alone();
    let result = shim.initialize("2025-03-26");
    assert_eq!(result["protocolVersion"], "2024-11-05");
    shim.request(1, "server/discover", modern(json!({})));
    let supported = shim.next()["result"]["supportedVersions"].clone();
    let expect = json!(["2024-11-05", "2025-06-18", "2025-11-25", "2026-07-28"]);
    assert_eq!(supported, expect);
    shim.request(2, "ping", json!({}));
    assert_eq!(shim.next()["result"], json!({}));
}

#[test]
fn legacy_results_have_no_modern_fields() {
    let daemon = Daemon::start(|_| answer(ended(b"out")));
    for version in LEGACY {
        let mut shim = Shim::start(&daemon.socket());
        shim.initialize(version);
        shim.request(1, "tools/list", json!({}));
        let list = shim.next()["result"].clone();
        assert_eq!(
            list.as_object().unwrap().keys().collect::<Vec<_>>(),
            ["tools"]
        );
        shim.call(2, "run", json!({"argv": ["true"]}));
        let result = shim.next()["result"].clone();
        for field in ["resultType", "_meta", "ttlMs"] {
            assert_eq!(result.get(field), None, "{version}: {result}");
        }
        shim.request(3, "ping", json!({}));
        assert_eq!(shim.next()["result"], json!({}));
        shim.request(4, "initialize", initialize_params(version));
        assert_eq!(shim.next()["result"]["protocolVersion"], version);
    }
}

#[test]
fn modern_results_name_server_without_handshake() {
    let daemon = Daemon::start(|_| answer(ended(b"out")));
    let mut shim = Shim::start(&daemon.socket());
    shim.request(1, "server/discover", modern(json!({})));
    let discover = shim.next()["result"].clone();
    for version in LEGACY.into_iter().chain(["2026-07-28"]) {
        let supported = discover["supportedVersions"].as_array().unwrap();
        assert!(supported.contains(&json!(version)));
    }
    assert!(discover["instructions"].as_str().unwrap().len() <= 2048);
    shim.request(2, "tools/list", modern(json!({})));
    let list = shim.next()["result"].clone();
    assert!(list["ttlMs"].is_u64() && list["cacheScope"].is_string());
    let params = modern(json!({"name": "run", "arguments": {"argv": ["true"]}}));
    shim.request(3, "tools/call", params);
    let run = shim.next()["result"].clone();
    assert_eq!(run["structuredContent"]["exit"], 3);
    shim.request(4, "tools/call", modern(json!({"name": "run"})));
    let refused = shim.next()["result"].clone();
    assert_eq!(refused["isError"], true);
    for result in [discover, list, run, refused] {
        assert_eq!(result["resultType"], "complete", "{result}");
        let server = &result["_meta"]["io.modelcontextprotocol/serverInfo"];
        assert_eq!(server["name"], "remit", "{result}");
    }
    shim.request(5, "ping", modern(json!({})));
    assert_eq!(shim.next()["error"]["code"], -32601);
}

#[test]
fn modern_request_without_meta_or_revision_is_refused() {
    for first in [false, true] {
        let mut shim = Shim::alone();
        if !first {
            shim.request(0, "tools/list", modern(json!({})));
            assert!(shim.next()["result"].is_object());
        }
        for method in ["tools/list", "tools/call", "server/discover"] {
            shim.request(1, method, json!({"name": "run", "arguments": {}}));
            assert_eq!(shim.next()["error"]["code"], -32602, "{method}");
            let mut params = modern(json!({"name": "run", "arguments": {}}));
            params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2099-01-01");
            shim.request(1, method, params);
            let answer = shim.next();
            assert_eq!(answer["error"]["code"], -32022, "{method}: {answer}");
            assert!(answer["error"]["data"]["supported"].is_array());
        }
        shim.request(2, "tools/list", modern(json!({})));
        assert!(shim.next()["result"]["tools"].is_array());
    }
}

#[test]
fn unknown_cursor_is_refused() {
    for params in [json!({"cursor": "x"}), modern(json!({"cursor": ""}))] {
        let mut shim = Shim::alone();
        shim.initialize("2025-11-25");
        shim.request(1, "tools/list", params);
        assert_eq!(shim.next()["error"]["code"], -32602);
    }
}

#[test]
fn initialize_after_discover_opens_a_legacy_session() {
    let mut shim = Shim::alone();
    shim.request(1, "server/discover", modern(json!({})));
    assert!(shim.next()["result"].is_object());
    shim.cancel(1);
    let result = shim.initialize("2025-11-25");
    assert_eq!(result["protocolVersion"], "2025-11-25");
    shim.request(2, "tools/list", json!({}));
    assert_eq!(shim.next()["result"].get("resultType"), None);
}

#[test]
fn tool_list_equals_print_tools() {
    let printed = command(&["--print-tools"]).output().unwrap();
    assert!(printed.status.success());
    let again = command(&["--print-tools"]).output().unwrap();
    assert_eq!(printed.stdout, again.stdout);
    let printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
    let mut lists = Vec::new();
    for version in LEGACY {
        let mut shim = Shim::alone();
        shim.initialize(version);
        shim.request(1, "tools/list", json!({}));
        lists.push(shim.next()["result"]["tools"].clone());
    }
    let mut shim = Shim::alone();
    shim.request(1, "tools/list", modern(json!({})));
    lists.push(shim.next()["result"]["tools"].clone());
    for list in lists {
        assert_eq!(list, printed["tools"]);
        let names: Vec<_> = list
            .as_array()
            .unwrap()
            .iter()
            .map(|t| &t["name"])
            .collect();
        assert_eq!(
            names,
            [
                "access", "host", "run", "plan", "change", "job", "job_stop", "history"
            ]
        );
        assert!(list.to_string().len() <= 12_000);
    }
}

/// `O_NONBLOCK` on x86_64 and aarch64.
const NONBLOCK: i32 = 0o4000;
const CALLS: usize = 40;

struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    fn threads(&self) -> usize {
        let tasks = format!("/proc/{}/task", self.0.id());
        fs::read_dir(tasks).unwrap().count()
    }

    fn is_nonblocking(&self, end: i32) -> bool {
        let info = fs::read_to_string(format!("/proc/{}/fdinfo/{end}", self.0.id())).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        i32::from_str_radix(flags.unwrap().trim(), 8).unwrap() & NONBLOCK != 0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An answer is larger than a pipe's buffer.
fn long() -> Daemon {
    let output = "x".repeat(30_000);
    Daemon::start(move |_| answer(ended(output.as_bytes())))
}

/// Runs [`CALLS`] calls, all sent before an answer is read, in pieces of any length.
fn session(mut stdin: impl Write + Send + 'static, stdout: impl Read) {
    let request = |id: usize, method: &str, params: Value| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    let mut lines = format!(
        "{}\n",
        request(CALLS, "initialize", initialize_params("2025-06-18"))
    );
    for id in 0..CALLS {
        let params =
            json!({"name": "run", "arguments": {"argv": ["a"], "stdin": "y".repeat(5000)}});
        lines += &format!("{}\n", request(id, "tools/call", params));
    }
    let writer = std::thread::spawn(move || {
        for piece in lines.as_bytes().chunks(1777) {
            stdin.write_all(piece).unwrap();
        }
        stdin
    });
    let mut ids: Vec<u64> = BufReader::new(stdout)
        .lines()
        .take(CALLS + 1)
        .map(|line| {
            let answer: Value = serde_json::from_str(&line.unwrap()).unwrap();
            assert!(answer["result"].is_object(), "{answer}");
            answer["id"].as_u64().unwrap()
        })
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..=CALLS as u64).collect::<Vec<_>>());
    drop(writer.join().unwrap());
}

#[test]
fn pipes_need_no_thread_and_stay_unchanged() {
    let daemon = long();
    let mut running = Running::start(&mut command(&["--socket", &daemon.socket()]));
    let (stdin, stdout) = (running.0.stdin.take(), running.0.stdout.take());
    let mut stdout = stdout.unwrap();
    session(stdin.unwrap(), &mut stdout);
    let mut running = Running::start(&mut command(&["--socket", &daemon.socket()]));
    let mut stdin = running.0.stdin.take().unwrap();
    let mut line = String::new();
    stdin
        .write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n")
        .unwrap();
    // Stays open while its descriptors are looked at: it ends when nobody reads.
    let mut stdout = BufReader::new(running.0.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    assert_eq!(running.threads(), 1);
    assert!(!running.is_nonblocking(0) && !running.is_nonblocking(1));
}

#[test]
fn socket_needs_no_thread_and_stays_unchanged() {
    let daemon = long();
    let (local_end, child_end) = UnixStream::pair().unwrap();
    let running = Running::start(
        command(&["--socket", &daemon.socket()])
            .stdin(OwnedFd::from(child_end.try_clone().unwrap()))
            .stdout(OwnedFd::from(child_end)),
    );
    session(local_end.try_clone().unwrap(), &local_end);
    assert_eq!(running.threads(), 1);
    assert!(!running.is_nonblocking(0));
}

#[test]
fn ends_that_are_non_blocking_already_serve_too() {
    let daemon = long();
    let nonblocking = |end: i32, read: bool| -> File {
        let mut options = OpenOptions::new();
        options.read(read).write(!read).custom_flags(NONBLOCK);
        options.open(format!("/proc/self/fd/{end}")).unwrap()
    };
    let (child_in, local_in) = pipe().unwrap();
    let (local_out, child_out) = pipe().unwrap();
    let running = Running::start(
        command(&["--socket", &daemon.socket()])
            .stdin(nonblocking(child_in.as_raw_fd(), true))
            .stdout(nonblocking(child_out.as_raw_fd(), false)),
    );
    drop((child_in, child_out));
    assert!(running.is_nonblocking(0) && running.is_nonblocking(1));
    session(local_in, local_out);
}

#[test]
fn files_serve_by_threads() {
    let daemon = Daemon::start(|_| answer(ended(b"")));
    let path = std::env::temp_dir().join(format!("mcp-shim-ends-{}", std::process::id()));
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                      "params": modern(json!({"name": "run", "arguments": {"argv": ["a"]}}))});
    fs::write(&path, format!("{call}\n")).unwrap();
    let (mut local_end, child_end) = pipe().unwrap();
    let status = command(&["--socket", &daemon.socket()])
        .stdin(File::open(&path).unwrap())
        .stdout(child_end)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    fs::remove_file(path).unwrap();
    assert!(status.success());
    let mut line = String::new();
    local_end.read_to_string(&mut line).unwrap();
    assert!(line.contains("\"id\":1"), "{line}");
}

fn answered(shim: &mut Shim, params: Value) -> Value {
    shim.request("call", "tools/call", params);
    let answer = shim.next();
    assert_eq!(answer["id"], "call");
    answer["result"].clone()
}

#[test]
fn the_library_and_we_answer_alike() {
    let daemon = Daemon::start(|_| answer(ended(b"")));
    for arguments in [
        json!({"argv": ["a", "\u{fc}"]}),
        json!({}),
        json!({"argv": 1}),
    ] {
        let params = json!({"name": "run", "arguments": arguments});
        // The request that opens a modern session goes through the library; later ones do not.
        let mut shim = Shim::start(&daemon.socket());
        let first = answered(&mut shim, modern(params.clone()));
        let second = answered(&mut shim, modern(params.clone()));
        assert_eq!(first, second);
        assert_eq!(first["resultType"], "complete");
        // A request with its own revision goes through the library.
        let mut shim = Shim::start(&daemon.socket());
        shim.initialize("2025-06-18");
        let direct = answered(&mut shim, params.clone());
        let mut inline = modern(params.clone());
        inline["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2025-06-18");
        assert_eq!(direct, answered(&mut shim, inline));
        assert_eq!(direct.get("resultType"), None);
        for field in ["content", "structuredContent", "isError"] {
            assert_eq!(direct[field], first[field], "{field}");
        }
    }
}
