//! Transport for the protocol library. It covers what the library does not check: every malformed line is answered, an id
//! is in flight once, requests are bounded, and nothing that would end the library reaches it.

use std::collections::HashMap;
use std::future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use remit_mcp::jsonrpc::{self, ClientLine, RequestKind};
use remit_mcp::lines::Line;
use remit_mcp::output::Output;
use rmcp::RoleServer;
use rmcp::model::{
    CancelledNotification, CancelledNotificationParam, ClientJsonRpcMessage, ClientNotification,
    ErrorCode, ErrorData, JsonRpcMessage, RequestId, ServerJsonRpcMessage,
};
use rmcp::transport::Transport;
use serde::Serialize;
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
    ids: HashMap<RequestId, RequestKind>,
    input_ended: bool,
}

impl Table {
    pub async fn input_ended(&self) {
        self.wait_for(|state| state.input_ended).await;
    }

    pub async fn empty(&self) {
        self.wait_for(|state| state.ids.is_empty()).await;
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

    fn accept(&self, id: &RequestId, kind: RequestKind) -> Result<(), &'static str> {
        let mut state = self.state();
        if state.ids.contains_key(id) {
            return Err("a request with this id is still in flight");
        }
        if state.ids.values().filter(|other| **other == kind).count() >= REQUESTS {
            return Err(match kind {
                RequestKind::Call => "32 calls are in flight: wait for one of them",
                RequestKind::Quick => "32 requests have no answer yet: read the answers",
            });
        }
        state.ids.insert(id.clone(), kind);
        Ok(())
    }

    /// Returns false if it was not in flight.
    fn remove(&self, id: &RequestId) -> bool {
        let was_there = self.state().ids.remove(id).is_some();
        self.0.changed.notify_waiters();
        was_there
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
                    Ok(()) => Ok(Some(JsonRpcMessage::request(*request, id))),
                    Err(why) => Err(Fault::new(Some(id), ErrorCode::INVALID_REQUEST, why)),
                }
            }
            // Others would end the library before its first request.
            ClientLine::Cancelled(id) if self.table.remove(&id) => {
                let param = CancelledNotificationParam::new(Some(id), None);
                Ok(Some(JsonRpcMessage::notification(
                    ClientNotification::CancelledNotification(CancelledNotification::new(param)),
                )))
            }
            ClientLine::Cancelled(_) | ClientLine::Nothing => Ok(None),
            ClientLine::Fault(fault) => Err(fault),
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
        async move {
            let id = match &item {
                JsonRpcMessage::Response(response) => Some(response.id.clone()),
                JsonRpcMessage::Error(error) => error.id.clone(),
                JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_) => None,
            };
            let is_wanted = |id: &RequestId| table.state().ids.contains_key(id);
            // A cancelled request gets no answer.
            if id.as_ref().is_some_and(|id| !is_wanted(id)) {
                return Ok(());
            }
            let permit = output.permit().await;
            let permit = permit.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
            permit.put(to_line(&item));
            // Only now, so that a client that does not read is not served more.
            if let Some(id) = id {
                table.remove(&id);
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
                    permit.put(to_line(&WireFault::new(&fault)));
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

#[derive(Serialize)]
struct WireFault<'a> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RequestId>,
    error: &'a ErrorData,
}

impl<'a> WireFault<'a> {
    fn new(fault: &'a Fault) -> Self {
        Self {
            jsonrpc: "2.0",
            id: fault.id.as_ref(),
            error: &fault.error,
        }
    }
}

fn to_line(message: &impl Serialize) -> Vec<u8> {
    // Plain data always serializes.
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_quick_requests_have_bounds_of_their_own() {
        use RequestKind::{Call, Quick};
        for (full, other) in [(Call, Quick), (Quick, Call)] {
            let table = Table::default();
            for id in 0..32 {
                assert_eq!(table.accept(&RequestId::Number(id), full), Ok(()));
            }
            let late = RequestId::Number(32);
            assert!(table.accept(&late, full).is_err(), "{full:?}");
            assert_eq!(table.accept(&late, other), Ok(()));
            assert!(table.remove(&RequestId::Number(0)));
            assert_eq!(table.accept(&RequestId::Number(33), full), Ok(()));
        }
    }
}
