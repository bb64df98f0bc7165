//! A client for an MCP server on stdio, which it trusts to be correct.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use remit_confine::sys;
use serde::Deserialize;
use serde_json::Value;

use crate::Failure;

const PATIENCE_MS: u16 = 1000;
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"remit-bench","version":"1"}}}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

pub const RUN: &str = r#"{"name":"run","arguments":{"argv":["/bin/true"]}}"#;

pub struct Session {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    id: u64,
}

#[derive(Deserialize)]
struct Answer {
    result: Option<Outcome>,
    error: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    #[serde(default)]
    is_error: bool,
    structured_content: Option<Value>,
}

impl Session {
    /// Starts the server. Returns also the time until `initialize` was answered.
    pub fn open(mut command: Command) -> Result<(Self, Duration), Failure> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let start = Instant::now();
        let mut child = command
            .spawn()
            .map_err(|e| format!("cannot start {command:?}: {e}"))?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        let mut session = Self {
            child,
            stdin,
            stdout,
            id: 0,
        };
        session.send(INITIALIZE)?;
        let mut line = String::new();
        session.receive(&mut line)?;
        let took = start.elapsed();
        parse(&line)?;
        session.send(INITIALIZED)?;
        Ok((session, took))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn ask_run(&mut self) -> Result<(), Failure> {
        self.ask_tool(RUN)
    }

    /// Calls a tool. `params` is JSON.
    pub fn ask_tool(&mut self, params: &str) -> Result<(), Failure> {
        self.request("tools/call", params)
    }

    pub fn ask_ping(&mut self) -> Result<(), Failure> {
        self.request("ping", "{}")
    }

    pub fn receive(&mut self, line: &mut String) -> Result<(), Failure> {
        line.clear();
        if self.stdout.read_line(line)? == 0 {
            return Err("the MCP server has ended".into());
        }
        Ok(())
    }

    fn request(&mut self, method: &str, params: &str) -> Result<(), Failure> {
        self.id += 1;
        let id = self.id;
        self.send(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#
        ))
    }

    fn send(&mut self, line: &str) -> Result<(), Failure> {
        let stdin = self.stdin.as_mut().ok_or("no pipe")?;
        // A single write causes a single wake-up.
        stdin.write_all(format!("{line}\n").as_bytes())?;
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A server ends at the end of its input, but some ignore it and are killed.
        self.stdin = None;
        let pid = i32::try_from(self.child.id()).unwrap_or_default();
        if let Ok(pidfd) = sys::pidfd_open(pid) {
            let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, PATIENCE_MS);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn parse(line: &str) -> Result<Option<Outcome>, Failure> {
    let answer: Answer = serde_json::from_str(line)?;
    match answer.error {
        None => Ok(answer.result),
        Some(_) => Err(format!("the MCP server says: {line}").into()),
    }
}

/// Fails unless the answer says that a program ended with 0.
pub fn ran(line: &str) -> Result<(), Failure> {
    let zero = parse(line)?.is_some_and(|outcome| {
        let exit = outcome.structured_content.as_ref().map(|it| &it["exit"]);
        !outcome.is_error && exit.is_some_and(|exit| *exit == 0)
    });
    if zero {
        Ok(())
    } else {
        Err(format!("'/bin/true' did not run: {line}").into())
    }
}

/// Fails unless another vendor's answer is a success and contains `expected`.
pub fn answered(line: &str, expected: &str) -> Result<(), Failure> {
    let is_error = parse(line)?.is_none_or(|outcome| outcome.is_error);
    if !is_error && line.contains(expected) {
        Ok(())
    } else {
        Err(format!("'/bin/true' did not run: {line}").into())
    }
}
