//! Table of requests without an answer. Each gets an internal key: a client may reuse an id after a cancellation, and a
//! late answer must not match. Calls above the bound wait here, so that later cancellations are still read.

use std::collections::{HashMap, HashSet, VecDeque};

use remit_common::caps;

use crate::jsonrpc::{Asked, ClientId, RequestKind};

pub const CALLS: usize = caps::CALLS_PER_SESSION;
/// Concurrent quick requests. They accumulate only if the client does not read.
pub const QUICK: usize = 32;
/// Calls that wait for one of [`CALLS`] to end.
pub const WAITING: usize = 32;
/// Bytes of the lines of running calls. One call always runs.
pub const CALL_BYTES: usize = 12 << 20;
/// Bytes of the lines of waiting requests. One may always wait.
pub const WAITING_BYTES: usize = 6 << 20;

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
    /// Takes a request from a line of `bytes`. Returns the id as an error if it is still in flight.
    pub fn accept(
        &mut self,
        id: ClientId,
        kind: RequestKind,
        bytes: usize,
        asked: Asked,
    ) -> Result<(), ClientId> {
        if !self.ids.insert(id.clone()) {
            return Err(id);
        }
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

    pub fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING
            || self.waiting.iter().map(|w| w.bytes).sum::<usize>() >= WAITING_BYTES
            // Waiting quick requests mean that the client does not read its answers.
            || self.waiting.iter().any(|w| w.kind != RequestKind::Call)
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

    fn call(table: &mut InFlight, number: usize, bytes: usize) -> Result<(), ClientId> {
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
        assert_eq!(call(&mut table, 1, 1), Err(id(1)));
        let (first, _) = table.next().unwrap();
        assert_eq!(call(&mut table, 1, 1), Err(id(1)));
        assert_eq!(table.cancel(&id(1)), Cancel::Tell(first));
        call(&mut table, 1, 1).unwrap();
        let (second, _) = table.next().unwrap();
        assert_eq!(table.answer(first), None, "a late answer finds nothing");
        assert_eq!(table.answer(second), Some(id(1)));
        assert_eq!(table.cancel(&id(1)), Cancel::Ignore, "too late");
        assert_eq!(call(&mut table, 1, 1), Err(id(1)));
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
        assert!(!table.is_full());
        call(&mut table, 3, WAITING_BYTES).unwrap();
        assert!(table.is_full());
        table.answered(first);
        assert!(table.next().is_some());
    }

    #[test]
    fn waiting_and_unread_answers_are_bounded() {
        let mut table = InFlight::default();
        for number in 0..CALLS + WAITING {
            assert!(!table.is_full());
            call(&mut table, number, 1).unwrap();
            table.next();
        }
        assert!(table.is_full());
        let mut table = InFlight::default();
        for number in 0..=QUICK {
            assert!(!table.is_full());
            ping(&mut table, number);
            table.next();
        }
        assert!(table.is_full());
    }
}
