//! One start of a server as a strict client sees it: each line of standard output has to be a message.
//!
//! **Invariant:** everything that a server sends is bounded, and it ends when the attempt ends.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use remit_common::RELEASE;
use remit_mcp::lines::{Line, Lines};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::environment::Environment;
use crate::link::answer::{self, Message, ServerInfo, ToolResult};
use crate::link::reason::Tail;

/// The revision that clients ask for (Claude Code by default, the official SDKs in their `legacy` mode).
const REVISION: &str = "2025-11-25";
/// The revision that a client looks for in a process of its own.
const MODERN: &str = "2026-07-28";
const LONGEST_LINE: usize = 256 << 10;
/// Bytes of lines that are no messages.
const NOISE: usize = 256 << 10;
/// Time for the last words of a server that has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
pub struct ClientTimeouts {
    pub hello: Duration,
    pub call: Duration,
}

/// What an attempt showed.
#[derive(Debug)]
pub struct StartAttempt {
    /// Lines of standard output that are no messages, escaped.
    pub noise: String,
    /// The last lines of standard error, escaped.
    pub said: String,
    pub end: StartEnd,
}

#[derive(Debug)]
pub enum StartEnd {
    NotStarted(io::Error),
    /// Its output ended before it had answered. The status, if it ended as well.
    Ended(Option<i32>),
    /// No answer to this request within the client's time.
    Silent(&'static str, Duration),
    GreetedServer(GreetedServer),
}

#[derive(Debug)]
pub struct GreetedServer {
    pub server: ServerInfo,
    pub tools: usize,
    pub hello: Duration,
    /// The result, with the time it took. An error says why there is none.
    pub call: Result<(ToolResult, Duration), String>,
}

/// Says hello, lists the tools, and calls one.
pub async fn session(
    command: &[String],
    environment: &Environment,
    client: &str,
    limits: ClientTimeouts,
    tool: (&str, Value),
) -> StartAttempt {
    let mut server = match StartedServer::start(command, environment) {
        Ok(server) => server,
        Err(error) => return StartAttempt::not_started(error),
    };
    let end = match server.greet(client, limits.hello).await {
        Err(end) => end,
        Ok((info, tools, hello)) => {
            let call = server.call(tool, limits.call).await;
            StartEnd::GreetedServer(GreetedServer {
                server: info,
                tools,
                hello,
                call,
            })
        }
    };
    server.finish(end).await
}

/// Looks for the newest protocol. Returns true if there was an answer.
pub async fn probe(
    command: &[String],
    environment: &Environment,
    client: &str,
    patience: Duration,
) -> bool {
    let Ok(mut server) = StartedServer::start(command, environment) else {
        return false;
    };
    let key = |name: &str| format!("io.modelcontextprotocol/{name}");
    let meta = json!({
        key("protocolVersion"): MODERN, key("clientCapabilities"): {},
        key("clientInfo"): { "name": client, "version": RELEASE },
    });
    let until = Instant::now() + patience;
    let answer = server
        .request("server/discover", json!({ "_meta": meta }), until)
        .await;
    answer.is_ok()
}

impl StartAttempt {
    fn not_started(error: io::Error) -> Self {
        Self {
            noise: String::new(),
            said: String::new(),
            end: StartEnd::NotStarted(error),
        }
    }
}

/// Why a request has no answer.
enum NoAnswer {
    Ended,
    Silent,
}

struct StartedServer {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    errors: JoinHandle<Tail>,
    lines: Lines,
    buffer: Vec<u8>,
    noise: Tail,
    noise_bytes: usize,
    next: u64,
}

impl StartedServer {
    fn start(command: &[String], environment: &Environment) -> io::Result<Self> {
        let (program, args) = command.split_first().ok_or(io::ErrorKind::NotFound)?;
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .envs(&environment.variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(directory) = environment.directory {
            command.current_dir(directory);
        }
        let mut child = command.spawn()?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        Ok(Self {
            child,
            stdin,
            stdout,
            errors: tokio::spawn(tail_of(stderr)),
            lines: Lines::new(LONGEST_LINE),
            buffer: Vec::new(),
            noise: Tail::default(),
            noise_bytes: 0,
            next: 1,
        })
    }

    async fn greet(
        &mut self,
        client: &str,
        patience: Duration,
    ) -> Result<(ServerInfo, usize, Duration), StartEnd> {
        let started = Instant::now();
        let until = started + patience;
        let end = |what, why| match why {
            NoAnswer::Ended => StartEnd::Ended(None),
            NoAnswer::Silent => StartEnd::Silent(what, patience),
        };
        let params = json!({
            "protocolVersion": REVISION, "capabilities": {},
            "clientInfo": { "name": client, "version": RELEASE },
        });
        let hello = self.request("initialize", params, until).await;
        let hello = hello.map_err(|why| end("initialize", why))?;
        let info = hello.map_or_else(
            |_| ServerInfo::default(),
            |hello| answer::server_info(&hello),
        );
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))
            .await;
        let tools = self.request("tools/list", json!({}), until).await;
        let tools = tools
            .map_err(|why| end("tools/list", why))?
            .unwrap_or_default();
        let tools = tools
            .get("tools")
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        Ok((info, tools, started.elapsed()))
    }

    async fn call(
        &mut self,
        (tool, arguments): (&str, Value),
        patience: Duration,
    ) -> Result<(ToolResult, Duration), String> {
        let started = Instant::now();
        let params = json!({ "name": tool, "arguments": arguments });
        match self.request("tools/call", params, started + patience).await {
            Ok(Ok(result)) => Ok((answer::tool_result(result)?, started.elapsed())),
            Ok(Err(why)) => Err(why),
            Err(NoAnswer::Ended) => Err("the connection ended".to_owned()),
            Err(NoAnswer::Silent) => Err(format!("no answer within {} s", patience.as_secs())),
        }
    }

    /// Sends a request, and waits for its result or error.
    async fn request(
        &mut self,
        method: &str,
        params: Value,
        until: Instant,
    ) -> Result<Result<Value, String>, NoAnswer> {
        let id = self.next;
        self.next += 1;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))
            .await;
        let answer = async {
            loop {
                match self.message().await {
                    Some(Message::Answer(of, result)) if of == id => return Ok(result),
                    Some(_) => {}
                    None => return Err(NoAnswer::Ended),
                }
            }
        };
        timeout_at(until, answer)
            .await
            .unwrap_or(Err(NoAnswer::Silent))
    }

    async fn send(&mut self, message: &Value) {
        // The answer is read even if nobody takes this: standard error says why.
        let _ = self
            .stdin
            .write_all(format!("{message}\n").as_bytes())
            .await;
    }

    /// Returns the next line as a message, or `None` at the end.
    async fn message(&mut self) -> Option<Message> {
        loop {
            let (line, taken) = self.lines.take(&self.buffer);
            self.buffer.drain(..taken);
            let line = match line {
                Some(Line::Whole(line)) => line,
                Some(Line::TooLong(_)) => return None,
                None if self.lines.is_dropping() => return None,
                None => {
                    let mut bytes = [0; 4096];
                    let count = self.stdout.read(&mut bytes).await.unwrap_or(0);
                    if count == 0 {
                        // The words of one who ends are read, too.
                        if let Some(Line::Whole(rest)) = self.lines.last() {
                            self.note_noise(&rest);
                        }
                        return None;
                    }
                    self.buffer
                        .extend_from_slice(bytes.get(..count).unwrap_or_default());
                    continue;
                }
            };
            let message = answer::parse(&line);
            if message == Message::Strange {
                self.note_noise(&line);
                if self.noise_bytes > NOISE {
                    return None;
                }
            }
            return Some(message);
        }
    }

    fn note_noise(&mut self, line: &[u8]) {
        self.noise_bytes += line.len() + 1;
        self.noise.add(line);
        self.noise.add(b"\n");
    }

    async fn finish(mut self, end: StartEnd) -> StartAttempt {
        let end = match end {
            StartEnd::Ended(_) => {
                let status = timeout(LAST_WORDS, self.child.wait()).await;
                StartEnd::Ended(
                    status
                        .ok()
                        .and_then(Result::ok)
                        .and_then(|status| status.code()),
                )
            }
            other => other,
        };
        // A client ends its servers. One that has ended already is no error.
        let _ = self.child.start_kill();
        let _ = self.child.wait().await;
        let abort = self.errors.abort_handle();
        let said = timeout(LAST_WORDS, self.errors).await;
        abort.abort();
        StartAttempt {
            noise: self.noise.lines(),
            said: said.ok().and_then(Result::ok).unwrap_or_default().lines(),
            end,
        }
    }
}

async fn tail_of(mut from: ChildStderr) -> Tail {
    let mut tail = Tail::default();
    let mut buffer = vec![0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        tail.add(buffer.get(..count).unwrap_or_default());
    }
    tail
}
