//! An MCP session over the shim's standard input and output: newline-delimited JSON-RPC, nothing between.

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
    /// Starts a shim as somebody and initializes the session.
    ///
    /// # Panics
    /// When the shim does not answer as MCP says.
    #[must_use]
    pub fn start(shim: &Path, socket: &Path, who: &Identity) -> Self {
        let mut session = Self::raw(shim, socket, who);
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

    /// Starts a shim as somebody and says nothing yet.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn raw(shim: &Path, socket: &Path, who: &Identity) -> Self {
        let mut command = Command::new(shim);
        command
            .arg("--socket")
            .arg(socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        who.runs(&mut command);
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
    ///
    /// # Panics
    /// When the shim does not take it.
    pub fn send(&mut self, message: &Value) {
        let stdin = self.stdin.as_mut().expect("the session is open");
        writeln!(stdin, "{message}").expect("the shim reads");
    }

    /// Reads one message.
    ///
    /// # Panics
    /// When the shim ends or prints something that is not JSON.
    #[must_use]
    pub fn receive(&mut self) -> Value {
        let mut line = String::new();
        self.stdout
            .read_line(&mut line)
            .expect("the shim's output is text");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Makes one request and waits for its answer, past what else the shim says.
    ///
    /// # Panics
    /// As [`Self::send`] and [`Self::receive`].
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

    /// Calls a tool; the whole result.
    ///
    /// # Panics
    /// As [`Self::request`], and when the call is answered with a protocol error.
    #[must_use]
    pub fn tool(&mut self, name: &str, arguments: &Value) -> Value {
        let answer = self.request(
            "tools/call",
            &json!({ "name": name, "arguments": arguments }),
        );
        assert!(answer["result"].is_object(), "{answer}");
        answer["result"].clone()
    }

    /// Runs something; its structured result.
    ///
    /// # Panics
    /// When it was refused.
    #[must_use]
    pub fn run(&mut self, arguments: &Value) -> Value {
        let result = self.tool("run", arguments);
        assert_ne!(result["isError"], true, "{result}");
        result["structuredContent"].clone()
    }

    /// The shim's pid.
    ///
    /// # Panics
    /// Never: pids are small.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("pids are small")
    }

    /// Closes standard input and waits; the exit status.
    ///
    /// # Panics
    /// When the shim cannot be waited for.
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
