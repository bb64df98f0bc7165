//! Answers to a client, bounded: one that does not read is dropped and disturbs nobody.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use remit_common::caps;
use remit_common::frame;
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::ToClient;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::Notify;

use crate::account::{Account, Buffered};

/// Frames that wait to be written.
#[derive(Debug)]
pub struct Outbox {
    frames: RefCell<VecDeque<(Vec<u8>, Buffered)>>,
    pending: Cell<usize>,
    account: Rc<Account>,
    more: Notify,
    full: Notify,
}

/// The writing side of a client.
pub struct Writer {
    to: OwnedWriteHalf,
    outbox: Rc<Outbox>,
    frame: Vec<u8>,
    written: usize,
    room: Option<Buffered>,
}

/// An outbox, and the writer that empties it.
pub fn new(to: OwnedWriteHalf, account: Rc<Account>) -> (Rc<Outbox>, Writer) {
    let outbox = Rc::new(Outbox {
        frames: RefCell::default(),
        pending: Cell::new(0),
        account,
        more: Notify::new(),
        full: Notify::new(),
    });
    let writer = Writer {
        to,
        outbox: Rc::clone(&outbox),
        frame: Vec::new(),
        written: 0,
        room: None,
    };
    (outbox, writer)
}

impl Outbox {
    /// Queues a message. Where it does not fit, the session ends.
    pub fn send(&self, message: &ToClient) {
        let frame = frame::encode(message, caps::FRAME).or_else(|error| match message {
            ToClient::Reply { id, .. } => {
                let reply = Err(Refusal::new(
                    Code::TooLarge,
                    format!("the answer is too large: {error}"),
                ));
                frame::encode(&ToClient::Reply { id: *id, reply }, caps::FRAME)
            }
            ToClient::Welcome { .. } | ToClient::Progress { .. } | ToClient::Goodbye(_) => {
                Err(error)
            }
        });
        let Ok(frame) = frame else {
            return self.full.notify_one();
        };
        let pending = self.pending.get().saturating_add(frame.len());
        let room = self
            .account
            .buffer(frame.len())
            .filter(|_| pending <= caps::WRITE_BUFFER);
        let Some(room) = room else {
            return self.full.notify_one();
        };
        self.pending.set(pending);
        self.frames.borrow_mut().push_back((frame, room));
        self.more.notify_one();
    }

    /// Waits until something did not fit.
    pub async fn overflowed(&self) {
        self.full.notified().await;
    }

    fn next(&self) -> Option<(Vec<u8>, Buffered)> {
        self.frames.borrow_mut().pop_front()
    }
}

impl Writer {
    /// Writes what comes until the connection breaks. May be dropped and called again.
    pub async fn run(&mut self) {
        let outbox = Rc::clone(&self.outbox);
        while self.write_all().await {
            outbox.more.notified().await;
        }
    }

    /// Writes what is queued.
    pub async fn flush(&mut self) {
        self.write_all().await;
    }

    /// Writes all there is; false when the connection broke.
    async fn write_all(&mut self) -> bool {
        loop {
            while let Some(rest) = self
                .frame
                .get(self.written..)
                .filter(|rest| !rest.is_empty())
            {
                match self.to.write(rest).await {
                    Ok(some @ 1..) => self.written += some,
                    Ok(0) | Err(_) => return false,
                }
            }
            let pending = self.outbox.pending.get().saturating_sub(self.frame.len());
            self.outbox.pending.set(pending);
            (self.frame, self.room) = match self.outbox.next() {
                Some((frame, room)) => (frame, Some(room)),
                None => (Vec::new(), None),
            };
            self.written = 0;
            if self.frame.is_empty() {
                return true;
            }
        }
    }
}
