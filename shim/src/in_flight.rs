//! Table of requests without an answer. Each gets an internal key: a client may reuse an id after a cancellation, and a
//! late answer must not match. Calls wait here for others, and those above all bounds are refused, so that later pings and
//! cancellations are still read.

use std::collections::{HashMap, HashSet, VecDeque};

use remit_common::caps;
use remit_mcp::jsonrpc::RequestKind;

use crate::jsonrpc::{Asked, ClientId};

pub const CALLS: usize = caps::CALLS_PER_SESSION;
/// Concurrent quick requests. They accumulate only if the client does not read.
pub const QUICK: usize = 32;
/// Calls that run, or wait for one of [`CALLS`] to end.
pub const MAX_CALLS: usize = CALLS + 32;
/// Bytes of the lines of running calls. One call always runs.
pub const CALL_BYTES: usize = 12 << 20;
/// Bytes of the lines of all calls, without the last one.
pub const MAX_BYTES: usize = CALL_BYTES + (6 << 20);

/// Why a request is not taken, with its id.
#[derive(Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// A request with this id is still in flight.
    Duplicate(ClientId),
    /// [`MAX_CALLS`] are in flight, or [`MAX_BYTES`] of them.
    Busy(ClientId),
}

#[derive(Debug, PartialEq, Eq)]
pub enum Cancel {
    /// Nothing to do: the request is unknown, never ran, or is being answered.
    Ignore,
    Tell(i64),
}

#[derive(Debug, Default)]
pub struct InFlight {
    next_key: i64,
    ids: HashSet<ClientId>,
    running: HashMap<i64, Running>,
    waiting: VecDeque<Waiting>,
    input_ended: bool,
}

#[derive(Debug)]
struct Running {
    id: ClientId,
    kind: RequestKind,
    bytes: usize,
    /// Its answer waits for space in the output, so it can no longer be cancelled.
    answering: bool,
}

#[derive(Debug)]
struct Waiting {
    id: ClientId,
    kind: RequestKind,
    bytes: usize,
    asked: Asked,
}

impl InFlight {
    /// Takes a request from a line of `bytes`. Quick requests are always taken.
    pub fn accept(
        &mut self,
        id: ClientId,
        kind: RequestKind,
        bytes: usize,
        asked: Asked,
    ) -> Result<(), NotTaken> {
        if self.ids.contains(&id) {
            return Err(NotTaken::Duplicate(id));
        }
        let (count, all_bytes) = self.calls();
        let is_full = count >= MAX_CALLS || all_bytes >= MAX_BYTES;
        if kind == RequestKind::Call && is_full {
            return Err(NotTaken::Busy(id));
        }
        self.ids.insert(id.clone());
        self.waiting.push_back(Waiting {
            id,
            kind,
            bytes,
            asked,
        });
        Ok(())
    }

    pub fn next(&mut self) -> Option<(i64, Asked)> {
        let calls = || {
            self.running
                .values()
                .filter(|r| r.kind == RequestKind::Call)
        };
        let (count, bytes) = calls().fold((0, 0), |(n, sum), r| (n + 1, sum + r.bytes));
        let quick = self.running.len() - count;
        let may_run = |waiting: &Waiting| match waiting.kind {
            RequestKind::Call => {
                count < CALLS && (count == 0 || bytes + waiting.bytes <= CALL_BYTES)
            }
            RequestKind::Quick => quick < QUICK,
        };
        let index = self.waiting.iter().position(may_run)?;
        let Waiting {
            id,
            kind,
            bytes,
            asked,
        } = self.waiting.remove(index)?;
        let key = self.next_key;
        self.next_key += 1;
        let running = Running {
            id,
            kind,
            bytes,
            answering: false,
        };
        self.running.insert(key, running);
        Some((key, asked))
    }

    /// Returns the number of calls in flight, and the bytes of their lines.
    fn calls(&self) -> (usize, usize) {
        let running = self.running.values().map(|r| (r.kind, r.bytes));
        let waiting = self.waiting.iter().map(|w| (w.kind, w.bytes));
        let calls = running
            .chain(waiting)
            .filter(|(kind, _)| *kind == RequestKind::Call);
        calls.fold((0, 0), |(n, sum), (_, bytes)| (n + 1, sum + bytes))
    }

    /// Returns true if quick requests wait: the client does not read its answers, so no line of it is read.
    pub fn is_unread(&self) -> bool {
        self.waiting.iter().any(|w| w.kind == RequestKind::Quick)
    }

    pub fn cancel(&mut self, id: &ClientId) -> Cancel {
        let waiting = self.waiting.len();
        self.waiting.retain(|w| w.id != *id);
        if self.waiting.len() < waiting {
            self.ids.remove(id);
            return Cancel::Ignore;
        }
        let cancelled = |running: &Running| running.id == *id && !running.answering;
        let running = self.running.iter().find(|(_, running)| cancelled(running));
        let Some(key) = running.map(|(key, _)| *key) else {
            return Cancel::Ignore;
        };
        self.answered(key);
        Cancel::Tell(key)
    }

    pub fn answer(&mut self, key: i64) -> Option<ClientId> {
        let running = self.running.get_mut(&key)?;
        running.answering = true;
        Some(running.id.clone())
    }

    pub fn answered(&mut self, key: i64) {
        if let Some(running) = self.running.remove(&key) {
            self.ids.remove(&running.id);
        }
    }

    pub fn end_input(&mut self) {
        self.input_ended = true;
    }

    pub fn input_ended(&self) -> bool {
        self.input_ended
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use rmcp::model::{CallToolRequestParams, ClientRequest, PingRequest, Request};

    use super::*;

    fn id(number: usize) -> ClientId {
        ClientId::Number(number.into())
    }

    fn call(table: &mut InFlight, number: usize, bytes: usize) -> Result<(), NotTaken> {
        let request = ClientRequest::CallToolRequest(Request::new(CallToolRequestParams::new("x")));
        table.accept(
            id(number),
            RequestKind::Call,
            bytes,
            Asked::Library(Box::new(request)),
        )
    }

    fn ping(table: &mut InFlight, number: usize) {
        let request = ClientRequest::PingRequest(PingRequest {
            method: Default::default(),
            extensions: Default::default(),
        });
        table
            .accept(
                id(number),
                RequestKind::Quick,
                1,
                Asked::Library(Box::new(request)),
            )
            .unwrap();
    }

    #[test]
    fn calls_over_cap_wait_and_pings_pass() {
        let mut table = InFlight::default();
        for number in 0..CALLS + 1 {
            call(&mut table, number, 1).unwrap();
        }
        ping(&mut table, 1000);
        let keys: Vec<_> = std::iter::from_fn(|| table.next().map(|(key, _)| key)).collect();
        assert_eq!(keys.len(), CALLS + 1);
        let last = *keys.last().unwrap();
        assert_eq!(table.answer(last), Some(id(1000)));
        table.answered(keys[3]);
        let (key, _) = table.next().unwrap();
        assert_eq!(table.answer(key), Some(id(CALLS)));
    }

    #[test]
    fn id_in_flight_is_refused_until_its_end() {
        let mut table = InFlight::default();
        call(&mut table, 1, 1).unwrap();
        let duplicate = || Err(NotTaken::Duplicate(id(1)));
        assert_eq!(call(&mut table, 1, 1), duplicate());
        let (first, _) = table.next().unwrap();
        assert_eq!(call(&mut table, 1, 1), duplicate());
        assert_eq!(table.cancel(&id(1)), Cancel::Tell(first));
        call(&mut table, 1, 1).unwrap();
        let (second, _) = table.next().unwrap();
        assert_eq!(table.answer(first), None, "a late answer finds nothing");
        assert_eq!(table.answer(second), Some(id(1)));
        assert_eq!(table.cancel(&id(1)), Cancel::Ignore, "too late");
        assert_eq!(call(&mut table, 1, 1), duplicate());
        table.answered(second);
        assert!(table.is_empty());
    }

    #[test]
    fn cancelled_waiting_request_never_runs() {
        let mut table = InFlight::default();
        for number in 0..CALLS + 1 {
            call(&mut table, number, 1).unwrap();
        }
        while table.next().is_some() {}
        assert_eq!(table.cancel(&id(CALLS)), Cancel::Ignore);
        table.answered(0);
        assert!(table.next().is_none());
        assert_eq!(table.cancel(&id(9999)), Cancel::Ignore);
    }

    #[test]
    fn bytes_are_bounded_and_one_call_always_runs() {
        let mut table = InFlight::default();
        call(&mut table, 1, CALL_BYTES + 1).unwrap();
        call(&mut table, 2, 1).unwrap();
        let (first, _) = table.next().unwrap();
        assert!(table.next().is_none());
        call(&mut table, 3, MAX_BYTES - CALL_BYTES).unwrap();
        assert_eq!(call(&mut table, 4, 1), Err(NotTaken::Busy(id(4))));
        table.answered(first);
        assert!(table.next().is_some());
        call(&mut table, 4, 1).unwrap();
    }

    #[test]
    fn waiting_and_unread_answers_are_bounded() {
        let mut table = InFlight::default();
        for number in 0..MAX_CALLS {
            call(&mut table, number, 1).unwrap();
            table.next();
        }
        let more = MAX_CALLS;
        assert_eq!(call(&mut table, more, 1), Err(NotTaken::Busy(id(more))));
        assert_eq!(call(&mut table, 0, 1), Err(NotTaken::Duplicate(id(0))));
        assert!(!table.is_unread(), "a ping and a cancellation are read");
        for number in 0..=QUICK {
            assert!(!table.is_unread());
            ping(&mut table, more + number);
            table.next();
        }
        assert!(table.is_unread());
        assert_eq!(table.cancel(&id(more - 1)), Cancel::Ignore);
        call(&mut table, more - 1, 1).unwrap();
    }
}
