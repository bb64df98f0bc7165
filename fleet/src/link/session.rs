//! One MCP session with the `mcp-shim` of a host, through the pipes of an ssh process: several calls in flight, identified
//! by numbers. Dropping it ends the process; dropping a call notifies the host that nobody waits for it.

use std::collections::HashMap;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use remit_common::RELEASE;
use remit_mcp::{BEHALF_META, SET_META};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;

use super::answer::{self, Message, ServerInfo, ToolResult};
use super::call::HostCall;
use super::incoming::{ENDED, Incoming};
use super::reason::{self, Tail};
use crate::ssh::Process;

/// The revision in which this program speaks to hosts. Every mcp-shim knows it.
const REVISION: &str = "2025-11-25";
const HELLO: u64 = 0;
/// Time for the last words of an ssh that has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Receives words about the progress of a call.
pub type News = Option<mpsc::UnboundedSender<String>>;

#[derive(Debug)]
pub struct Session {
    shared: Arc<Shared>,
    tasks: [AbortHandle; 2],
    pub server: ServerInfo,
}

#[derive(Debug)]
struct Shared {
    outgoing: mpsc::UnboundedSender<Vec<u8>>,
    calls: Mutex<Calls>,
    next: AtomicU64,
    /// Time of the last answer. A clock that goes on while the computer sleeps.
    heard: Mutex<SystemTime>,
}

#[derive(Debug, Default)]
struct Calls {
    open: HashMap<u64, Waiter>,
    /// Why the session ended.
    end: Option<String>,
}

#[derive(Debug)]
struct Waiter {
    reply: oneshot::Sender<Result<Value, String>>,
    news: News,
}

/// Why there is no result: the session ended. Whether the host got the call is unknown.
#[derive(Debug, PartialEq, Eq)]
pub struct Lost(pub String);

impl Session {
    /// Says hello to the `mcp-shim` behind `child`. An error is a sentence about the host, with `ssh` as a person types it.
    pub async fn open(
        mut child: Process,
        client: &str,
        patience: Duration,
        ssh: &str,
    ) -> Result<Self, String> {
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err("ssh has no pipes".to_owned());
        };
        let said = Arc::new(Mutex::new(Tail::default()));
        let errors = tokio::spawn(keep_tail(stderr, Arc::clone(&said)));
        let mut incoming = Incoming::new(stdout);
        let mut stdin = stdin;
        let hello = hello(&mut incoming, &mut stdin, client);
        let why = match timeout(patience, hello).await {
            Ok(Ok(server)) => {
                child.logged_in();
                let (outgoing, queue) = mpsc::unbounded_channel();
                let shared = Arc::new(Shared {
                    outgoing,
                    calls: Mutex::default(),
                    next: AtomicU64::new(HELLO + 1),
                    heard: Mutex::new(SystemTime::now()),
                });
                let pipes = Pipes {
                    child,
                    stdin,
                    incoming,
                    said,
                    ssh: ssh.to_owned(),
                };
                let errors_end = errors.abort_handle();
                let serving = tokio::spawn(serve(Arc::clone(&shared), pipes, queue, errors));
                return Ok(Self {
                    shared,
                    tasks: [serving.abort_handle(), errors_end],
                    server,
                });
            }
            Ok(Err(why)) => why,
            Err(_) => format!("no answer within {} s", patience.as_secs()),
        };
        let why = end_of(&mut child, why, errors).await;
        Err(reason::sentence(
            &why,
            &lock(&said).lines(),
            &incoming.strange.lines(),
            ssh,
        ))
    }

    /// Returns false once a call could only be lost.
    pub fn is_open(&self) -> bool {
        self.shared.calls().end.is_none()
    }

    pub fn is_idle(&self) -> bool {
        self.shared.calls().open.is_empty()
    }

    pub async fn call(
        &self,
        call: &HostCall,
        arguments: &Map<String, Value>,
        news: News,
    ) -> Result<ToolResult, Lost> {
        let mut params = json!({ "name": call.tool, "arguments": arguments });
        if let Some(set) = call.set {
            add_meta(&mut params, SET_META, json!(set.to_string()));
        }
        if let Some(behalf) = &call.behalf {
            add_meta(&mut params, BEHALF_META, json!(behalf.as_str()));
        }
        match self.request("tools/call", params, news).await? {
            Ok(result) => answer::tool_result(result).map_err(|what| {
                // Its next answers are not believed, either.
                self.shared.end(format!("it sent {what}"))
            }),
            Err(why) => Ok(refused(why)),
        }
    }

    /// Returns true if the host answered within `idle`, or answers a ping now.
    pub async fn is_alive(&self, idle: Duration, patience: Duration) -> bool {
        // A clock that was set back is no answer.
        let quiet = lock(&self.shared.heard).elapsed();
        if quiet.is_ok_and(|quiet| quiet < idle) {
            return true;
        }
        let ping = self.request("ping", json!({}), None);
        timeout(patience, ping)
            .await
            .is_ok_and(|answer| answer.is_ok())
    }

    /// Sends a request, and waits for its result or error.
    async fn request(
        &self,
        method: &str,
        mut params: Value,
        news: News,
    ) -> Result<Result<Value, String>, Lost> {
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        if news.is_some() {
            add_meta(&mut params, "progressToken", json!(id));
        }
        let line = line(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        let (reply, answer) = oneshot::channel();
        {
            let mut calls = self.shared.calls();
            if let Some(why) = &calls.end {
                return Err(Lost(why.clone()));
            }
            calls.open.insert(id, Waiter { reply, news });
        }
        // If the writer is gone, the session ends and with it the call.
        let _ = self.shared.outgoing.send(line);
        let _forgotten = Forgotten {
            id,
            shared: &self.shared,
        };
        answer.await.map_err(|_| {
            let end = self.shared.calls().end.clone();
            Lost(end.unwrap_or_else(|| "the session ended".to_owned()))
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

fn add_meta(params: &mut Value, key: &str, value: Value) {
    let params = params.as_object_mut();
    let meta = params.map(|params| params.entry("_meta").or_insert_with(|| json!({})));
    if let Some(meta) = meta.and_then(Value::as_object_mut) {
        meta.insert(key.to_owned(), value);
    }
}

/// An error of the protocol, as a refusal.
fn refused(why: String) -> ToolResult {
    let error = json!({ "message": why });
    ToolResult {
        is_error: true,
        text: json!({ "error": error }).to_string(),
        data: Map::from_iter([("error".to_owned(), error)]),
    }
}

/// Notifies the host, if the call was not answered.
struct Forgotten<'a> {
    id: u64,
    shared: &'a Shared,
}

impl Drop for Forgotten<'_> {
    fn drop(&mut self) {
        if self.shared.calls().open.remove(&self.id).is_some() {
            // If the session has ended, nobody needs to know.
            let _ = self.shared.outgoing.send(line(&json!({
                "jsonrpc": "2.0", "method": "notifications/cancelled",
                "params": { "requestId": self.id },
            })));
        }
    }
}

impl Shared {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        lock(&self.calls)
    }

    fn end(&self, why: String) -> Lost {
        let mut calls = self.calls();
        calls.open.clear();
        Lost(calls.end.get_or_insert(why).clone())
    }

    /// Returns true if a call waited for it.
    fn deliver(&self, id: u64, result: Result<Value, String>) -> bool {
        *lock(&self.heard) = SystemTime::now();
        let waiter = self.calls().open.remove(&id);
        waiter.is_some_and(|waiter| {
            // A call that was just cancelled gets no answer.
            let _ = waiter.reply.send(result);
            true
        })
    }
}

/// The content is valid even if poisoned, because no code panics with the lock held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Pipes {
    child: Process,
    stdin: ChildStdin,
    incoming: Incoming<ChildStdout>,
    said: Arc<Mutex<Tail>>,
    /// How a person types this ssh.
    ssh: String,
}

/// Serves the session until its end, and notes why it ended.
async fn serve(
    shared: Arc<Shared>,
    pipes: Pipes,
    mut queue: mpsc::UnboundedReceiver<Vec<u8>>,
    errors: JoinHandle<()>,
) {
    let Pipes {
        mut child,
        mut stdin,
        mut incoming,
        said,
        ssh,
    } = pipes;
    let reading = async {
        loop {
            match incoming.next().await {
                Ok(Message::Answer(id, result)) => {
                    if shared.deliver(id, result) {
                        incoming.was_wanted();
                    }
                }
                Ok(Message::Progress(id, words)) => {
                    if let Some(Waiter {
                        news: Some(news), ..
                    }) = shared.calls().open.get(&id)
                    {
                        let _ = news.send(words);
                    }
                }
                Ok(Message::Nothing | Message::Strange) => {}
                Err(why) => return why,
            }
        }
    };
    let writing = async {
        while let Some(line) = queue.recv().await {
            if stdin.write_all(&line).await.is_err() {
                break;
            }
        }
        // The reader knows more about the end.
        std::future::pending::<String>().await
    };
    let why = tokio::select! {
        why = reading => why,
        why = writing => why,
    };
    let why = end_of(&mut child, why, errors).await;
    shared.end(reason::sentence(&why, &lock(&said).lines(), "", &ssh));
}

async fn hello(
    incoming: &mut Incoming<ChildStdout>,
    stdin: &mut ChildStdin,
    client: &str,
) -> Result<ServerInfo, String> {
    let initialize = line(&json!({
        "jsonrpc": "2.0", "id": HELLO, "method": "initialize",
        "params": {
            "protocolVersion": REVISION,
            "capabilities": {},
            "clientInfo": { "name": client, "version": RELEASE },
        },
    }));
    // The answer is read even if nobody takes this: ssh says why.
    let _ = stdin.write_all(&initialize).await;
    let server = loop {
        match incoming.next().await? {
            Message::Answer(HELLO, Ok(result)) => break answer::server_info(&result),
            Message::Answer(HELLO, Err(why)) => return Err(format!("it refuses: {why}")),
            _ => {}
        }
    };
    if server.name != "remit" {
        return Err(format!("'{}' answers there, and not remit", server.name));
    }
    incoming.was_wanted();
    let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let _ = stdin.write_all(&line(&ready)).await;
    Ok(server)
}

/// Ends the process, and returns how the session ended: `why`, or the status if the output just ended.
async fn end_of(child: &mut Process, why: String, errors: JoinHandle<()>) -> String {
    if why != ENDED {
        child.kill();
    }
    let status = timeout(LAST_WORDS, child.wait()).await;
    // A master connection can hold its standard error open.
    let abort = errors.abort_handle();
    let _ = timeout(LAST_WORDS, errors).await;
    abort.abort();
    match (why.as_str(), status) {
        (ENDED, Ok(Ok(status))) => ended_with(status),
        _ => why,
    }
}

fn ended_with(status: ExitStatus) -> String {
    match status.code() {
        Some(status) => format!("ssh ended with status {status}"),
        None => "ssh was killed".to_owned(),
    }
}

async fn keep_tail(mut from: ChildStderr, tail: Arc<Mutex<Tail>>) {
    let mut buffer = vec![0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        lock(&tail).add(buffer.get(..count).unwrap_or_default());
    }
}

fn line(message: &Value) -> Vec<u8> {
    let mut line = message.to_string().into_bytes();
    line.push(b'\n');
    line
}
