//! Transport for the protocol library. It covers what the library's own transport does not check. Every malformed line
//! is answered, ids are tracked, calls in flight are bounded, and nothing that would end the library reaches it.
//! [`crate::jsonrpc`] classifies a line, [`crate::in_flight`] decides what may run.

use std::collections::HashMap;
use std::future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use remit_common::refusal::{Code, Refusal};
use remit_mcp::jsonrpc::{cancelled, too_long};
use remit_mcp::lines::Line;
use remit_mcp::output::{Output, to_line};
use remit_mcp::server_info;
use rmcp::RoleServer;
use rmcp::model::{
    ClientJsonRpcMessage, JsonRpcError, JsonRpcMessage, RequestId, ServerJsonRpcMessage,
    ServerNotification,
};
use rmcp::transport::Transport;
use serde::Serialize;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::answer::Answer as ToolAnswer;
use crate::direct::{Direct, Era, Session};
use crate::in_flight::{Cancel, InFlight, MAX_BYTES, MAX_CALLS, NotTaken};
use crate::jsonrpc::{self, Asked, ClientId, Fault, Incoming};
use crate::rounds::{RequestState, Response};
use crate::server::{Server, implementation};

#[derive(Clone, Debug)]
pub struct Table(Arc<watch::Sender<InFlight>>);

impl Table {
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(InFlight::default())))
    }

    pub async fn input_ended(&self) {
        self.wait_for(InFlight::input_ended).await;
    }

    /// Returns when all calls are answered, or when no call was within `patience`.
    pub async fn answered(&self, patience: Duration) {
        let mut changes = self.0.subscribe();
        while !changes.borrow_and_update().is_empty() {
            if timeout(patience, changes.changed()).await.is_err() {
                return;
            }
        }
    }

    async fn wait_for(&self, condition: fn(&InFlight) -> bool) {
        let mut changes = self.0.subscribe();
        // The sender is owned here, so waiting cannot fail.
        let _ = changes.wait_for(condition).await;
    }

    fn change<T: Default>(&self, change: impl FnOnce(&mut InFlight) -> T) -> T {
        let mut result = T::default();
        self.0.send_modify(|table| result = change(table));
        result
    }

    /// Changes the table without a notification.
    fn quietly<T>(&self, default: T, change: impl FnOnce(&mut InFlight) -> T) -> T {
        let mut result = default;
        self.0.send_if_modified(|table| {
            result = change(table);
            false
        });
        result
    }
}

pub struct Stdio {
    lines: mpsc::Receiver<Line>,
    output: Output,
    table: Table,
    changes: watch::Receiver<InFlight>,
    /// The answer to a line that is refused here, until the output has space for it.
    refusal: Option<Vec<u8>>,
    session: Session,
    server: Server,
    direct: HashMap<i64, AbortHandle>,
}

impl Stdio {
    pub fn new(lines: mpsc::Receiver<Line>, output: Output, table: Table, server: Server) -> Self {
        let changes = table.0.subscribe();
        Self {
            lines,
            output,
            table,
            changes,
            refusal: None,
            session: Session::default(),
            server,
            direct: HashMap::new(),
        }
    }

    /// Takes one line. Returns a message if the library must get one at once.
    fn take(&mut self, line: Line) -> Option<ClientJsonRpcMessage> {
        let bytes = match line {
            Line::Whole(bytes) => bytes,
            Line::TooLong(ends) => {
                self.refusal = Some(to_line(&too_long::<ClientId>(&ends)));
                return None;
            }
        };
        match jsonrpc::parse(&bytes, &self.session) {
            Incoming::Request { id, kind, asked } => {
                let era = asked.era();
                let accepted = self
                    .table
                    .quietly(Ok(()), |table| table.accept(id, kind, bytes.len(), asked));
                self.refusal = accepted.err().map(|why| match why {
                    NotTaken::Duplicate(id) => to_line(&jsonrpc::duplicate(id)),
                    NotTaken::Busy(id) => answered(&id, &ToolAnswer::refused(&busy()), era),
                });
                None
            }
            Incoming::Cancelled(id) => self.cancel(&id),
            Incoming::Nothing => None,
            Incoming::Fault(error) => {
                self.refusal = Some(to_line(&error));
                None
            }
        }
    }

    fn answer(&mut self, key: i64, direct: Direct) {
        let (server, output, table) =
            (self.server.clone(), self.output.clone(), self.table.clone());
        let task = tokio::spawn(async move {
            let Direct { call, era, client } = direct;
            let response = server.respond(call, era, &client).await;
            let id = table.quietly(None, |table| table.answer(key));
            if let Some(id) = id
                && let Ok(permit) = output.permit().await
            {
                permit.put(match &response {
                    Response::Complete(answer) => answered(&id, answer, era),
                    Response::Repeat(state) => repeat(&id, state),
                });
            }
            table.change(|table| table.answered(key));
        });
        self.direct.retain(|_, task| !task.is_finished());
        self.direct.insert(key, task.abort_handle());
    }

    /// A notification before the end of the handshake ends the library. Until then no request is in flight.
    fn cancel(&mut self, id: &ClientId) -> Option<ClientJsonRpcMessage> {
        let mut cancel = Cancel::Ignore;
        self.table.change(|table| cancel = table.cancel(id));
        match cancel {
            Cancel::Tell(key) => {
                if let Some(call) = self.direct.remove(&key) {
                    call.abort();
                    return None;
                }
                Some(cancelled(RequestId::Number(key)))
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
                let permit = output.permit().await?;
                permit.put(line);
            }
            if let Some(key) = key {
                table.change(|table| table.answered(key));
            }
            Ok(())
        }
    }

    /// Returns the next message. The end of input is not reported, because the library would wait for calls.
    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        loop {
            if self.refusal.is_some() {
                let Ok(permit) = self.output.permit().await else {
                    return future::pending().await;
                };
                if let Some(line) = self.refusal.take() {
                    permit.put(line);
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
                (!table.is_unread(), table.input_ended())
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
                // The table owns the sender, so this cannot fail.
                _ = self.changes.changed() => {}
            }
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

#[derive(Serialize)]
#[serde(tag = "jsonrpc", rename = "2.0")]
struct WireAnswer<'a, T> {
    id: &'a ClientId,
    result: T,
}

/// Refuses a call above the bounds of the table. It was not sent, so nothing has started.
fn busy() -> Refusal {
    let bytes = MAX_BYTES >> 20;
    let message = format!("this session has {MAX_CALLS} calls in flight, or {bytes} MiB of them");
    Refusal::new(Code::Busy, message)
        .next("wait for an answer, or start runs with a short wait_ms and follow them with job")
}

/// Returns the line for a message. `id` is the client's id of an answer, `Some(None)` for a cancelled request.
fn encode(item: ServerJsonRpcMessage, id: Option<Option<ClientId>>) -> Option<Vec<u8>> {
    match (item, id) {
        (_, Some(None)) => None,
        (JsonRpcMessage::Response(response), Some(Some(id))) => Some(to_line(&WireAnswer {
            id: &id,
            result: response.result,
        })),
        (JsonRpcMessage::Error(JsonRpcError { error, .. }), id) => {
            let id = id.flatten();
            Some(to_line(&Fault { id, error }))
        }
        (other, _) => Some(to_line(&other)),
    }
}

/// Returns the line for a call's answer. Its JSON already exists and is inserted unchanged.
fn answered(id: &ClientId, answer: &ToolAnswer, era: Era) -> Vec<u8> {
    let modern = matches!(era, Era::Modern).then(|| server_info(&implementation()));
    let (text, data) = (answer.text(), answer.data());
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

/// Returns the line that asks for the same call again. Only clients of the modern era get it.
fn repeat(id: &ClientId, state: &RequestState) -> Vec<u8> {
    let result = json!({
        "resultType": "input_required",
        "_meta": server_info(&implementation()),
        "requestState": state.to_string(),
    });
    to_line(&WireAnswer { id, result })
}

fn add(line: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    // Plain data always serializes, and a Vec takes any bytes.
    let _ = serde_json::to_writer(line, value);
}

pub fn notification(notification: ServerNotification) -> Vec<u8> {
    to_line(&ServerJsonRpcMessage::notification(notification))
}

fn key(id: &RequestId) -> Option<i64> {
    match id {
        RequestId::Number(key) => Some(*key),
        RequestId::String(_) => None,
    }
}
