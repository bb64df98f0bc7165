//! Answers to a client, bounded: one that does not read is dropped and disturbs nobody.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use remit_common::caps;
use remit_common::frame;
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::ToClient;
use remit_link::ForeignSocket;
use tokio::sync::Notify;

use crate::account::{Account, Buffered};
use crate::watch::Socket;

/// Frames that wait to be written.
#[derive(Debug)]
pub struct Outbox {
    to: Rc<Socket<ForeignSocket>>,
    frames: RefCell<VecDeque<(Vec<u8>, Buffered)>>,
    /// Bytes of the first of them that are written.
    written: Cell<usize>,
    pending: Cell<usize>,
    account: Rc<Account>,
    /// Something is left to [`Outbox::run`].
    left: Notify,
    full: Notify,
}

/// How far writing came.
enum Reached {
    /// Nothing is left.
    End,
    /// The socket takes no more just now.
    Full,
    /// The connection broke.
    Broken,
}

impl Outbox {
    /// One that is empty.
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

    /// Sends a message, or queues what the socket does not take at once. Where it does not fit, the session ends.
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
        let is_first = self.frames.borrow().is_empty();
        self.frames.borrow_mut().push_back((frame, room));
        if is_first && !matches!(self.write(), Reached::End) {
            self.left.notify_one();
        }
    }

    /// Waits until something did not fit.
    pub async fn overflowed(&self) {
        self.full.notified().await;
    }

    /// Writes what was left until the connection breaks. May be dropped and called again.
    pub async fn run(&self) {
        while self.flush().await {
            self.left.notified().await;
        }
    }

    /// Writes all there is; false when the connection broke.
    pub async fn flush(&self) -> bool {
        loop {
            match self.write() {
                Reached::End => return true,
                Reached::Full if self.to.writable().await.is_ok() => {}
                Reached::Full | Reached::Broken => return false,
            }
        }
    }

    /// Writes what the socket takes at once.
    fn write(&self) -> Reached {
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
                Err(Errno::EAGAIN) => return Reached::Full,
                Err(Errno::EINTR) => {}
                Err(_) => return Reached::Broken,
            }
        }
        Reached::End
    }
}
