//! Transport for the protocol library. It covers what the library does not check: every malformed line is answered, an id
//! is in flight once, requests are bounded, and nothing that would end the library reaches it. The library knows requests by
//! keys of this table: a client may reuse an id after a cancellation, and a late answer must not match.

use std::collections::HashMap;
use std::future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use remit_mcp::jsonrpc::{self, ClientLine, RequestKind};
use remit_mcp::lines::Line;
use remit_mcp::output::{Output, to_line};
use rmcp::RoleServer;
use rmcp::model::{
    ClientJsonRpcMessage, ErrorCode, JsonRpcMessage, RequestId, ServerJsonRpcMessage,
};
use rmcp::transport::Transport;
use tokio::sync::{Notify, mpsc};

type Fault = jsonrpc::Fault<RequestId>;

/// Calls without an answer, and as many other requests. More are refused, so a cancellation is never stuck behind them.
const REQUESTS: usize = 32;

/// Requests in flight, and whether more can come.
#[derive(Clone, Debug, Default)]
pub struct Table(Arc<WatchedTable>);

#[derive(Debug, Default)]
struct WatchedTable {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    next_key: i64,
    running: HashMap<RequestId, InFlightRequest>,
    input_ended: bool,
}

#[derive(Debug)]
struct InFlightRequest {
    /// That of the client.
    id: RequestId,
    kind: RequestKind,
}

impl Table {
    pub async fn input_ended(&self) {
        self.wait_for(|state| state.input_ended).await;
    }

    pub async fn empty(&self) {
        self.wait_for(|state| state.running.is_empty()).await;
    }

    async fn wait_for(&self, condition: fn(&State) -> bool) {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if condition(&self.state()) {
                return;
            }
            changed.await;
        }
    }

    /// Returns the key of the request.
    fn accept(&self, id: &RequestId, kind: RequestKind) -> Result<RequestId, &'static str> {
        let mut state = self.state();
        let mut running = state.running.values();
        if running.any(|other| other.id == *id) {
            return Err("a request with this id is still in flight");
        }
        let running = state.running.values();
        if running.filter(|other| other.kind == kind).count() >= REQUESTS {
            return Err(match kind {
                RequestKind::Call => "32 calls are in flight: wait for one of them",
                RequestKind::Quick => "32 requests have no answer yet: read the answers",
            });
        }
        let key = RequestId::Number(state.next_key);
        state.next_key += 1;
        let id = id.clone();
        state
            .running
            .insert(key.clone(), InFlightRequest { id, kind });
        Ok(key)
    }

    /// Forgets the request with this id, and returns its key if it was in flight.
    fn cancel(&self, id: &RequestId) -> Option<RequestId> {
        let mut state = self.state();
        let mut running = state.running.iter();
        let (key, _) = running.find(|(_, running)| running.id == *id)?;
        let key = key.clone();
        state.running.remove(&key);
        drop(state);
        self.0.changed.notify_waiters();
        Some(key)
    }

    /// Calls `put` with the id of the client, unless the request was cancelled. Then the request is no longer in flight.
    fn answer(&self, key: &RequestId, put: impl FnOnce(RequestId)) {
        let mut state = self.state();
        if let Some(running) = state.running.remove(key) {
            put(running.id);
        }
        drop(state);
        self.0.changed.notify_waiters();
    }

    fn end_input(&self) {
        self.state().input_ended = true;
        self.0.changed.notify_waiters();
    }

    /// The content is valid even if poisoned, because no code panics with the lock held.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub struct Stdio {
    lines: mpsc::Receiver<Line>,
    output: Output,
    table: Table,
    /// An error answer that waits for space in the output.
    fault: Option<Fault>,
}

impl Stdio {
    pub fn new(lines: mpsc::Receiver<Line>, output: Output, table: Table) -> Self {
        Self {
            lines,
            output,
            table,
            fault: None,
        }
    }

    /// Returns the message for the library, or an error to answer.
    fn take(&self, line: Line) -> Result<Option<ClientJsonRpcMessage>, Fault> {
        let line = match line {
            Line::Whole(line) => line,
            Line::TooLong(ends) => return Err(jsonrpc::too_long(&ends)),
        };
        match jsonrpc::parse(&line) {
            ClientLine::Request(id, request) => {
                let accepted = self.table.accept(&id, RequestKind::from(&*request));
                match accepted {
                    Ok(key) => Ok(Some(JsonRpcMessage::request(*request, key))),
                    Err(why) => Err(Fault::new(Some(id), ErrorCode::INVALID_REQUEST, why)),
                }
            }
            // Others would end the library before its first request.
            ClientLine::Cancelled(id) => Ok(self.table.cancel(&id).map(jsonrpc::cancelled)),
            ClientLine::Nothing => Ok(None),
            ClientLine::Fault(fault) => Err(fault),
        }
    }
}

impl Transport<RoleServer> for Stdio {
    type Error = io::Error;

    fn send(
        &mut self,
        mut item: ServerJsonRpcMessage,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let (table, output) = (self.table.clone(), self.output.clone());
        async move {
            // Before the answer is one, so that a client that does not read is not served more.
            let permit = output.permit().await?;
            match answered(&mut item).cloned() {
                Some(key) => table.answer(&key, |id| {
                    answered(&mut item)
                        .into_iter()
                        .for_each(|key| *key = id.clone());
                    permit.put(to_line(&item));
                }),
                None => permit.put(to_line(&item)),
            }
            Ok(())
        }
    }

    /// Returns the next message. The end of input is not reported, because the library would wait for calls.
    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        loop {
            if self.fault.is_some() {
                let Ok(permit) = self.output.permit().await else {
                    break;
                };
                if let Some(fault) = self.fault.take() {
                    permit.put(to_line(&fault));
                }
            }
            let Some(line) = self.lines.recv().await else {
                break;
            };
            match self.take(line) {
                Ok(Some(message)) => return Some(message),
                Ok(None) => {}
                Err(fault) => self.fault = Some(fault),
            }
        }
        self.table.end_input();
        future::pending().await
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// Returns the id of the request that is answered.
fn answered(item: &mut ServerJsonRpcMessage) -> Option<&mut RequestId> {
    match item {
        JsonRpcMessage::Response(response) => Some(&mut response.id),
        JsonRpcMessage::Error(error) => error.id.as_mut(),
        JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use remit_mcp::output::Task;
    use rmcp::model::ErrorData;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn calls_and_quick_requests_have_bounds_of_their_own() {
        use RequestKind::{Call, Quick};
        for (full, other) in [(Call, Quick), (Quick, Call)] {
            let table = Table::default();
            for id in 0..32 {
                assert!(table.accept(&RequestId::Number(id), full).is_ok());
            }
            let late = RequestId::Number(32);
            assert!(table.accept(&late, full).is_err(), "{full:?}");
            assert!(table.accept(&late, other).is_ok());
            assert!(table.cancel(&RequestId::Number(0)).is_some());
            assert!(table.accept(&RequestId::Number(33), full).is_ok());
        }
    }

    #[tokio::test]
    async fn late_answer_to_a_cancelled_request_does_not_match_its_id() {
        let (lines, receiver) = mpsc::channel(3);
        let (output, mut written) = Output::new();
        let mut stdio = Stdio::new(receiver, output, Table::default());
        let call = r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"x"}}"#;
        let cancel =
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a"}}"#;
        for line in [call, cancel, call] {
            lines.try_send(Line::Whole(line.into())).unwrap();
        }
        let mut next = async || stdio.receive().await.unwrap();
        let (first, cancelled, second) = (next().await, next().await, next().await);
        let (JsonRpcMessage::Request(first), JsonRpcMessage::Request(second)) = (first, second)
        else {
            panic!("no requests")
        };
        let cancelled = serde_json::to_value(&cancelled).unwrap();
        assert_eq!(cancelled["params"]["requestId"], json!(first.id));
        for (key, text) in [(first.id, "cancelled"), (second.id, "its own")] {
            let error = ErrorData::internal_error(text, None);
            stdio
                .send(JsonRpcMessage::error(error, Some(key)))
                .await
                .unwrap();
        }
        drop(stdio);
        let mut answers = Vec::new();
        while let Some(Task::Write(line)) = written.recv().await {
            let answer: Value = serde_json::from_slice(&line).unwrap();
            answers.push((answer["id"].clone(), answer["error"]["message"].clone()));
        }
        assert_eq!(answers, [(json!("a"), json!("its own"))]);
    }
}
