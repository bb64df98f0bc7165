//! The protocol library's transport: it puts right what the library's own lets pass.
//!
//! Every malformed line is answered, ids are looked after, the calls in flight
//! are bounded, and nothing reaches the library that would end it. What a line
//! is, [`crate::line`] decides; who may run, [`crate::in_flight`].

use std::collections::HashMap;
use std::future;
use std::io;
use std::sync::Arc;

use rmcp::RoleServer;
use rmcp::model::{
    CancelledNotification, CancelledNotificationParam, ClientJsonRpcMessage, ClientNotification,
    ErrorData, JsonRpcMessage, RequestId, ServerJsonRpcMessage, ServerNotification,
};
use rmcp::transport::Transport;
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use crate::answer::Answer as ToolAnswer;
use crate::direct::{Direct, Era, Session};
use crate::in_flight::{Cancel, InFlight};
use crate::line::{self, Asked, ClientId, Fault, Incoming};
use crate::server::{Server, server_info};
use crate::stdio::{Line, Output};

/// The table of requests, shared by reading, answering and ending.
#[derive(Clone, Debug)]
pub struct Table(Arc<watch::Sender<InFlight>>);

impl Table {
    /// An empty table.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(InFlight::default())))
    }

    /// Returns when the input has ended.
    pub async fn input_ended(&self) {
        self.wait_for(InFlight::input_ended).await;
    }

    /// Returns when nothing is left to answer.
    pub async fn empty(&self) {
        self.wait_for(InFlight::is_empty).await;
    }

    async fn wait_for(&self, condition: fn(&InFlight) -> bool) {
        let mut changes = self.0.subscribe();
        // The sender is ours, so waiting cannot fail.
        let _ = changes.wait_for(condition).await;
    }

    /// A change that others wait for.
    fn change<T: Default>(&self, change: impl FnOnce(&mut InFlight) -> T) -> T {
        let mut result = T::default();
        self.0.send_modify(|table| result = change(table));
        result
    }

    /// A change that nobody waits for.
    fn quietly<T>(&self, default: T, change: impl FnOnce(&mut InFlight) -> T) -> T {
        let mut result = default;
        self.0.send_if_modified(|table| {
            result = change(table);
            false
        });
        result
    }
}

/// The transport.
pub struct Stdio {
    lines: mpsc::Receiver<Line>,
    output: Output,
    table: Table,
    changes: watch::Receiver<InFlight>,
    /// An answer of our own that waits for room.
    fault: Option<Fault>,
    session: Session,
    server: Server,
    /// Calls that we answer.
    direct: HashMap<i64, AbortHandle>,
}

impl Stdio {
    /// A transport over these ends.
    pub fn new(lines: mpsc::Receiver<Line>, output: Output, table: Table, server: Server) -> Self {
        let changes = table.0.subscribe();
        Self {
            lines,
            output,
            table,
            changes,
            fault: None,
            session: Session::default(),
            server,
            direct: HashMap::new(),
        }
    }

    /// Takes one line; a message comes out where the library gets one at once.
    fn take(&mut self, line: Line) -> Option<ClientJsonRpcMessage> {
        let bytes = match line {
            Line::Whole(bytes) => bytes,
            Line::TooLong => {
                self.fault = Some(Fault::too_long());
                return None;
            }
        };
        match line::parse(&bytes, &self.session) {
            Incoming::Request { id, kind, asked } => {
                let accepted = self
                    .table
                    .quietly(Ok(()), |table| table.accept(id, kind, bytes.len(), asked));
                self.fault = accepted.err().map(Fault::duplicate);
                None
            }
            Incoming::Cancelled(id) => self.cancel(&id),
            Incoming::Nothing => None,
            Incoming::Fault(fault) => {
                self.fault = Some(fault);
                None
            }
        }
    }

    /// Answers a call without the library.
    fn answer(&mut self, key: i64, direct: Direct) {
        let (server, output, table) =
            (self.server.clone(), self.output.clone(), self.table.clone());
        let task = tokio::spawn(async move {
            let Direct { call, era, client } = direct;
            let answer = server.answer(call, &client).await;
            let id = table.quietly(None, |table| table.answer(key));
            if let Some(id) = id
                && let Ok(room) = output.room().await
            {
                room.put(answered(&id, &answer, era));
            }
            table.change(|table| table.answered(key));
        });
        self.direct.retain(|_, task| !task.is_finished());
        self.direct.insert(key, task.abort_handle());
    }

    /// A notification ends the library before its handshake is over. Until then it
    /// answers each request before it asks for the next line, so none is in flight
    /// that could be cancelled.
    fn cancel(&mut self, id: &ClientId) -> Option<ClientJsonRpcMessage> {
        let mut cancel = Cancel::Ignore;
        self.table.change(|table| cancel = table.cancel(id));
        match cancel {
            Cancel::Tell(key) => {
                if let Some(call) = self.direct.remove(&key) {
                    call.abort();
                    return None;
                }
                let param = CancelledNotificationParam::new(Some(RequestId::Number(key)), None);
                Some(JsonRpcMessage::notification(
                    ClientNotification::CancelledNotification(CancelledNotification::new(param)),
                ))
            }
            Cancel::Ignore => None,
        }
    }
}

impl Transport<RoleServer> for Stdio {
    type Error = io::Error;

    fn send(
        &mut self,
        item: ServerJsonRpcMessage,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let (table, output) = (self.table.clone(), self.output.clone());
        let key = match &item {
            JsonRpcMessage::Response(response) => key(&response.id),
            JsonRpcMessage::Error(error) => error.id.as_ref().and_then(key),
            JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_) => None,
        };
        let id = key.map(|key| table.quietly(None, |table| table.answer(key)));
        let line = encode(item, id);
        async move {
            if let Some(line) = line {
                let room = output.room().await.map_err(|_| broken())?;
                room.put(line);
            }
            if let Some(key) = key {
                table.change(|table| table.answered(key));
            }
            Ok(())
        }
    }

    /// The next message. The end of input is not told to the library, which would
    /// then wait for calls in flight: the session ends the process itself.
    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        loop {
            if self.fault.is_some() {
                let Ok(room) = self.output.room().await else {
                    return future::pending().await;
                };
                if let Some(Fault { id, error }) = self.fault.take() {
                    room.put(to_line(&Answer::error(id.as_ref(), &error)));
                }
            }
            match self.table.quietly(None, InFlight::next) {
                Some((key, Asked::Library(request))) => {
                    self.session.passed(&request);
                    return Some(JsonRpcMessage::request(*request, RequestId::Number(key)));
                }
                Some((key, Asked::Direct(direct))) => {
                    self.answer(key, *direct);
                    continue;
                }
                None => {}
            }
            let (may_read, ended) = {
                let table = self.changes.borrow_and_update();
                (!table.is_full(), table.input_ended())
            };
            tokio::select! {
                line = self.lines.recv(), if may_read && !ended => match line {
                    Some(line) => {
                        if let Some(message) = self.take(line) {
                            return Some(message);
                        }
                    }
                    None => self.table.change(InFlight::end_input),
                },
                // The table holds the sender, so this cannot fail.
                _ = self.changes.changed() => {}
            }
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// A response as it stands on the wire, with the client's own id.
#[derive(Serialize)]
struct Answer<'a, T> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a ClientId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a ErrorData>,
}

impl<'a> Answer<'a, ()> {
    fn error(id: Option<&'a ClientId>, error: &'a ErrorData) -> Self {
        Self {
            jsonrpc: "2.0",
            id,
            result: None,
            error: Some(error),
        }
    }
}

/// The line for a message. `id` is the client's where it is an answer; none for
/// an answer means that the request was cancelled, and there is no line.
fn encode(item: ServerJsonRpcMessage, id: Option<Option<ClientId>>) -> Option<Vec<u8>> {
    match (item, id) {
        (_, Some(None)) => None,
        (JsonRpcMessage::Response(response), Some(id)) => Some(to_line(&Answer {
            jsonrpc: "2.0",
            id: id.as_ref(),
            result: Some(response.result),
            error: None,
        })),
        (JsonRpcMessage::Error(error), id) => {
            let id = id.flatten();
            Some(to_line(&Answer::error(id.as_ref(), &error.error)))
        }
        (other, _) => Some(to_line(&other)),
    }
}

/// The line for the answer to a call. Its JSON is made already, so it is put in as it is.
fn answered(id: &ClientId, answer: &ToolAnswer, era: Era) -> Vec<u8> {
    let modern = matches!(era, Era::Modern).then(server_info);
    let (text, data) = (answer.text(), answer.data());
    // The text has quotes to escape.
    let mut line = Vec::with_capacity(256 + data.len() + text.len() + text.len() / 4);
    line.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    add(&mut line, id);
    line.extend_from_slice(br#","result":{"#);
    if let Some(meta) = &modern {
        line.extend_from_slice(br#""resultType":"complete","_meta":"#);
        add(&mut line, meta);
        line.push(b',');
    }
    line.extend_from_slice(br#""content":[{"type":"text","text":"#);
    add(&mut line, text);
    line.extend_from_slice(br#"}],"structuredContent":"#);
    line.extend_from_slice(data.as_bytes());
    line.extend_from_slice(br#","isError":"#);
    add(&mut line, &answer.is_error());
    line.extend_from_slice(b"}}\n");
    line
}

fn add(line: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    // As for a whole line, and a Vec takes any bytes.
    let _ = serde_json::to_writer(line, value);
}

/// The line for a notification.
pub fn notification(notification: ServerNotification) -> Vec<u8> {
    to_line(&ServerJsonRpcMessage::notification(notification))
}

fn to_line(message: &impl Serialize) -> Vec<u8> {
    // Keys are strings and values are plain data, so this does not fail.
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Our key in an id of the library.
fn key(id: &RequestId) -> Option<i64> {
    match id {
        RequestId::Number(key) => Some(*key),
        RequestId::String(_) => None,
    }
}

fn broken() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}
