//! Every kind of stdin and stdout, and calls with and without the library.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write, pipe};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::daemon::{Daemon, answer, ended};
use crate::pipe::{Shim, command, initialize_params, modern};

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
    let stdout = running.0.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
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
