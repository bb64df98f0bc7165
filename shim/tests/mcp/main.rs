//! Tests of the program with raw lines, as an MCP client, and a test daemon.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests may fail"
)]

mod bad_input;
mod calls;
mod change;
mod claims;
mod daemon;
mod eras;
mod flow;
mod lost;
mod pipe {
    //! One `mcp-shim` process with its input and output lines.

    use std::io::{BufRead, BufReader, Read, Write};
    use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
    use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
    use std::thread;
    use std::time::{Duration, Instant};

    use serde_json::{Value, json};

    pub const PATIENCE: Duration = Duration::from_secs(20);

    pub struct Shim {
        child: Child,
        stdin: Option<ChildStdin>,
        lines: Receiver<String>,
    }

    pub fn command(args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-shim"));
        command
            .args(args)
            .env_remove("REMIT_BEHALF")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    impl Shim {
        pub fn start(socket: &str) -> Self {
            let (mut shim, stdout) = Self::unread(socket);
            shim.read(stdout);
            shim
        }

        pub fn alone() -> Self {
            Self::start("/nonexistent/remit.sock")
        }

        pub fn unread(socket: &str) -> (Self, ChildStdout) {
            Self::spawn(&mut command(&["--socket", socket]))
        }

        pub fn with_env(socket: &str, name: &str, value: &str) -> Self {
            let mut command = command(&["--socket", socket]);
            let (mut shim, stdout) = Self::spawn(command.env(name, value));
            shim.read(stdout);
            shim
        }

        fn spawn(command: &mut Command) -> (Self, ChildStdout) {
            let mut child = command.spawn().unwrap();
            let stdout = child.stdout.take().unwrap();
            let stdin = child.stdin.take();
            let (_, lines) = mpsc::channel();
            let shim = Self {
                child,
                stdin,
                lines,
            };
            (shim, stdout)
        }

        pub fn read(&mut self, stdout: ChildStdout) {
            let (sender, lines) = mpsc::channel();
            self.lines = lines;
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines() {
                    if line.is_ok_and(|line| sender.send(line).is_ok()) {
                        continue;
                    }
                    break;
                }
            });
        }

        pub fn raw(&mut self, bytes: &[u8]) {
            self.stdin.as_mut().unwrap().write_all(bytes).unwrap();
        }

        pub fn take_stdin(&mut self) -> ChildStdin {
            self.stdin.take().unwrap()
        }

        pub fn send(&mut self, message: &Value) {
            self.raw(format!("{message}\n").as_bytes());
        }

        pub fn request(&mut self, id: impl Into<Value>, method: &str, params: Value) {
            let id = id.into();
            self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        }

        pub fn call(&mut self, id: impl Into<Value>, tool: &str, arguments: Value) {
            let params = json!({"name": tool, "arguments": arguments});
            self.request(id, "tools/call", params);
        }

        pub fn cancel(&mut self, id: impl Into<Value>) {
            let params = json!({"requestId": id.into()});
            self.send(
                &json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}),
            );
        }

        pub fn next(&mut self) -> Value {
            let line = self.lines.recv_timeout(PATIENCE).expect("a line");
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
        }

        pub fn nothing_more(&mut self) {
            // In every era a ping is answered at once, at least with an error.
            self.request("marker", "ping", json!({}));
            let line = self.next();
            assert_eq!(line["id"], "marker", "unexpected line: {line}");
        }

        pub fn initialize(&mut self, version: &str) -> Value {
            self.request("init", "initialize", initialize_params(version));
            let answer = self.next();
            assert_eq!(answer["id"], "init", "{answer}");
            self.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
            answer["result"].clone()
        }

        /// Closes stdin and waits. Returns the status, the time and the remaining lines.
        pub fn close(mut self) -> (ExitStatus, Duration, Vec<Value>) {
            let start = Instant::now();
            self.stdin = None;
            self.end(start)
        }

        pub fn end(&mut self, start: Instant) -> (ExitStatus, Duration, Vec<Value>) {
            let mut rest = Vec::new();
            loop {
                match self.lines.recv_timeout(PATIENCE) {
                    Ok(line) => rest.push(serde_json::from_str(&line).unwrap()),
                    Err(RecvTimeoutError::Disconnected) => break,
                    Err(RecvTimeoutError::Timeout) => panic!("it does not end"),
                }
            }
            let status = self.child.wait().unwrap();
            (status, start.elapsed(), rest)
        }

        pub fn peak_memory(&self) -> u64 {
            let status =
                std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
            let line = status
                .lines()
                .find(|line| line.starts_with("VmHWM:"))
                .unwrap();
            let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
            kilobytes * 1024
        }

        pub fn threads(&self) -> usize {
            let tasks = format!("/proc/{}/task", self.child.id());
            std::fs::read_dir(tasks).unwrap().count()
        }

        pub fn exit_code(&mut self) -> Option<i32> {
            let mut stderr = self.child.stderr.take().unwrap();
            let (sender, ended) = mpsc::channel();
            thread::spawn(move || sender.send(stderr.read_to_end(&mut Vec::new())));
            ended.recv_timeout(PATIENCE).expect("it ends").unwrap();
            self.child.wait().unwrap().code()
        }
    }

    impl Drop for Shim {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    pub fn initialize_params(version: &str) -> Value {
        json!({
            "protocolVersion": version,
            "capabilities": {},
            "clientInfo": {"name": "tests", "version": "1"}
        })
    }

    /// Adds the fields that revision 2026-07-28 requires in every request.
    pub fn modern(mut params: Value) -> Value {
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
        params
    }

    pub fn with_token(tool: &str, arguments: Value, token: &str) -> Value {
        json!({"name": tool, "arguments": arguments, "_meta": {"progressToken": token}})
    }
}
mod plan;
mod rounds;
mod search;
