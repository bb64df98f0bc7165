//! Answers to a client, bounded: a client that does not read is dropped and affects nobody else.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use remit_common::refusal::{Code, Refusal};
use remit_common::{caps, frame};
use remit_link::ForeignSocket;
use remit_wire::ToClient;
use tokio::sync::Notify;

use crate::async_fd::Socket;
use crate::session::usage::{Account, Buffered};

#[derive(Debug)]
pub struct Outbox {
    to: Rc<Socket<ForeignSocket>>,
    frames: RefCell<VecDeque<(Vec<u8>, Buffered)>>,
    /// Written bytes of the first frame.
    written: Cell<usize>,
    pending: Cell<usize>,
    account: Rc<Account>,
    /// [`Outbox::run`] has something to write.
    left: Notify,
    full: Notify,
}

enum WriteOutcome {
    End,
    Full,
    Broken,
}

impl Outbox {
    pub fn new(to: Rc<Socket<ForeignSocket>>, account: Rc<Account>) -> Self {
        Self {
            to,
            frames: RefCell::default(),
            written: Cell::new(0),
            pending: Cell::new(0),
            account,
            left: Notify::new(),
            full: Notify::new(),
        }
    }

    /// Sends a message, or queues what the socket does not take at once. The session ends if the queue is full.
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
        let reservation = self
            .account
            .buffer(frame.len())
            .filter(|_| pending <= caps::WRITE_BUFFER);
        let Some(reservation) = reservation else {
            return self.full.notify_one();
        };
        self.pending.set(pending);
        let is_first = self.frames.borrow().is_empty();
        self.frames.borrow_mut().push_back((frame, reservation));
        if is_first && !matches!(self.write(), WriteOutcome::End) {
            self.left.notify_one();
        }
    }

    pub async fn overflowed(&self) {
        self.full.notified().await;
    }

    /// Writes queued frames until the connection breaks. Cancel-safe.
    pub async fn run(&self) {
        while self.flush().await {
            self.left.notified().await;
        }
    }

    pub async fn flush(&self) -> bool {
        loop {
            match self.write() {
                WriteOutcome::End => return true,
                WriteOutcome::Full if self.to.writable().await.is_ok() => {}
                WriteOutcome::Full | WriteOutcome::Broken => return false,
            }
        }
    }

    fn write(&self) -> WriteOutcome {
        let mut frames = self.frames.borrow_mut();
        while let Some((frame, _)) = frames.front() {
            let rest = frame.get(self.written.get()..).unwrap_or_default();
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(self.to.as_fd().as_raw_fd(), rest, flags) {
                Ok(some) if some < rest.len() => self.written.set(self.written.get() + some),
                Ok(_) => {
                    let pending = self.pending.get().saturating_sub(frame.len());
                    self.pending.set(pending);
                    self.written.set(0);
                    frames.pop_front();
                }
                Err(Errno::EAGAIN) => return WriteOutcome::Full,
                Err(Errno::EINTR) => {}
                Err(_) => return WriteOutcome::Broken,
            }
        }
        WriteOutcome::End
    }
}
