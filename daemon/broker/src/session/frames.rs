//! Frames of a client: read, limited in size, time and memory; and written, bounded: one that does not read is dropped.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use remit_common::caps;
use remit_common::frame::{self, FrameError};
use remit_common::refusal::{Code, Refusal};
use remit_link::ForeignSocket;
use remit_wire::ToClient;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::SessionEnd;
use crate::runtime::async_fd::{Reader, Socket};
use crate::session::usage::{Account, Buffered};

const BUFFER: usize = 4 << 10;
/// Frames up to this size are not counted against the uid: all its calls in flight need little.
const SMALL: usize = 4 << 10;

pub struct Frames {
    from: BufReader<Reader>,
    account: Rc<Account>,
}

pub struct Frame {
    pub bytes: Vec<u8>,
    pub reservation: Option<Buffered>,
}

impl Frames {
    pub fn new(from: Reader, account: Rc<Account>) -> Self {
        Self {
            from: BufReader::with_capacity(BUFFER, from),
            account,
        }
    }

    pub fn account(&self) -> &Rc<Account> {
        &self.account
    }

    /// Waits for the next frame. The first byte has no timeout, the rest has a deadline.
    pub async fn next(&mut self) -> Result<Frame, SessionEnd> {
        let mut field = [0; frame::HEADER];
        let [first, ..] = &mut field;
        match self.from.read(std::slice::from_mut(first)).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return Err(SessionEnd::Closed),
        }
        let deadline = Duration::from_millis(caps::FRAME_DEADLINE_MS);
        timeout(deadline, self.rest(field))
            .await
            .unwrap_or_else(|_| {
                let seconds = deadline.as_secs();
                Err(SessionEnd::Refused(Refusal::new(
                    Code::InvalidArgs,
                    format!("the frame was not finished within {seconds} s"),
                )))
            })
    }

    async fn rest(&mut self, mut field: [u8; frame::HEADER]) -> Result<Frame, SessionEnd> {
        let [_, others @ ..] = &mut field;
        if self.from.read_exact(others).await.is_err() {
            return Err(SessionEnd::Closed);
        }
        let length = frame::header(field, caps::FRAME).map_err(refused)?;
        let reservation = if length > SMALL {
            Some(self.reservation(length)?)
        } else {
            None
        };
        // The buffer grows with the received bytes, so a large length alone costs nothing.
        let mut bytes = Vec::with_capacity(length.min(BUFFER));
        let wanted = u64::try_from(length).unwrap_or(u64::MAX);
        match (&mut self.from).take(wanted).read_to_end(&mut bytes).await {
            Ok(read) if read == length => Ok(Frame { bytes, reservation }),
            Ok(_) | Err(_) => Err(SessionEnd::Closed),
        }
    }

    fn reservation(&self, length: usize) -> Result<Buffered, SessionEnd> {
        self.account.buffer(length).ok_or_else(|| {
            SessionEnd::Refused(
                Refusal::new(Code::Busy, "too much data of this user is in transit")
                    .next("send large requests one after the other, and read the answers"),
            )
        })
    }
}

fn refused(error: FrameError) -> SessionEnd {
    match error {
        FrameError::TooLong { .. } => {
            SessionEnd::Refused(Refusal::new(Code::TooLarge, error.to_string()))
        }
        FrameError::Malformed | FrameError::Closed | FrameError::Io(_) => {
            SessionEnd::Refused(Refusal::new(Code::InvalidArgs, error.to_string()))
        }
    }
}

#[derive(Debug)]
pub struct Outbox {
    to: Rc<Socket<ForeignSocket>>,
    frames: RefCell<VecDeque<(Vec<u8>, Buffered)>>,
    written: Cell<usize>,
    pending: Cell<usize>,
    account: Rc<Account>,
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
