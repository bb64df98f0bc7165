//! An MCP session over the shim's standard input and output: newline-delimited JSON-RPC.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::process::Identity;

/// A running shim.
#[derive(Debug)]
pub struct Session {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    next: u64,
}

impl Session {
    /// Starts a shim as `user` and initializes the session.
    #[must_use]
    pub fn start(shim: &Path, socket: &Path, user: &Identity) -> Self {
        let mut session = Self::raw(shim, socket, user);
        let hello = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": { "name": "remit-tests", "version": "1" },
        });
        let answer = session.request("initialize", &hello);
        assert_eq!(
            answer["result"]["protocolVersion"], "2025-11-25",
            "{answer}"
        );
        session.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        session
    }

    /// Starts a shim as `user` without sending anything.
    #[must_use]
    pub fn raw(shim: &Path, socket: &Path, user: &Identity) -> Self {
        let mut command = Command::new(shim);
        command
            .arg("--socket")
            .arg(socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        user.runs(&mut command);
        let mut child = command.spawn().expect("mcp-shim starts");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        Self {
            child,
            stdin,
            stdout,
            next: 1,
        }
    }

    /// Writes one message.
    pub fn send(&mut self, message: &Value) {
        let stdin = self.stdin.as_mut().expect("the session is open");
        writeln!(stdin, "{message}").expect("the shim reads");
    }

    /// Reads one message.
    #[must_use]
    pub fn receive(&mut self) -> Value {
        let mut line = String::new();
        self.stdout
            .read_line(&mut line)
            .expect("the shim's output is text");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Sends a request and waits for its answer. Skips other messages.
    #[must_use]
    pub fn request(&mut self, method: &str, params: &Value) -> Value {
        let id = self.next;
        self.next += 1;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        loop {
            let message = self.receive();
            if message["id"] == id {
                return message;
            }
        }
    }

    /// Calls a tool. Returns the complete result, and panics on a protocol error.
    #[must_use]
    pub fn tool(&mut self, name: &str, arguments: &Value) -> Value {
        let answer = self.request(
            "tools/call",
            &json!({ "name": name, "arguments": arguments }),
        );
        assert!(answer["result"].is_object(), "{answer}");
        answer["result"].clone()
    }

    /// Runs something. Returns the structured result, and panics if it was refused.
    #[must_use]
    pub fn run(&mut self, arguments: &Value) -> Value {
        let result = self.tool("run", arguments);
        assert_ne!(result["isError"], true, "{result}");
        result["structuredContent"].clone()
    }

    /// Returns the shim's pid.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("pids are small")
    }

    /// Closes standard input, waits, and returns the exit status.
    #[must_use]
    pub fn close(mut self) -> Option<i32> {
        drop(self.stdin.take());
        self.child.wait().expect("the shim is a child").code()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}
