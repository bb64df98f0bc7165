//! One connection to the daemon with several calls in flight, identified by ids.
//! [`crate::daemon`] decides when to reconnect. Dropping a call notifies the daemon that its answer is not needed. The
//! connection closes with the last of its holders.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::unistd::{Gid, Group};
use remit_common::caps;
use remit_common::frame::{self, FrameError, HEADER};
use remit_common::refusal::{Code, Refusal};
use remit_wire::{FromClient, Hello, PROTOCOL, Progress, Reply, Request, ToClient};
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::stdio::Socket;

/// Bytes of one read, unless a longer frame has started.
const READ: usize = 16 << 10;

#[derive(Debug)]
pub enum ConnectError {
    NotAllowed(PathBuf),
    /// Nothing listens, or the listener closed before its first message.
    Absent(Refusal),
    /// The listener is silent or speaks another protocol.
    Unavailable(Refusal),
    /// The daemon answered the hello with a refusal.
    Refused(Refusal),
}

impl From<ConnectError> for Refusal {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::NotAllowed(socket) => Self::new(
                Code::DaemonUnavailable,
                format!("you may not connect to '{}'", socket.display()),
            )
            .object(socket.display().to_string())
            .by("permissions of the socket")
            .lift(format!("usermod -aG {} USER", group_of(&socket)))
            .next("ask an administrator to add your user to the group of the socket; it counts from the next login on"),
            ConnectError::Absent(refusal)
            | ConnectError::Unavailable(refusal)
            | ConnectError::Refused(refusal) => refusal,
        }
    }
}

/// Returns the group that owns the socket, whatever remit.toml has.
fn group_of(socket: &Path) -> String {
    let Ok(facts) = std::fs::metadata(socket) else {
        return "GROUP".to_owned();
    };
    let group = Group::from_gid(Gid::from_raw(facts.gid()));
    group
        .ok()
        .flatten()
        .map_or_else(|| facts.gid().to_string(), |group| group.name)
}

#[derive(Debug)]
pub enum CallError {
    Lost(String),
    /// The daemon ended the connection. It may have taken the call before.
    Dismissed(Refusal),
    Refused(Refusal),
}

/// Receives progress of a call, if the client wants it.
pub type News = Option<mpsc::UnboundedSender<Progress>>;

struct Waiter {
    reply: oneshot::Sender<Box<Result<Reply, Refusal>>>,
    news: News,
}

#[derive(Clone, Debug)]
enum ConnectionEnd {
    Broken(String),
    Goodbye(Refusal),
}

#[derive(Clone)]
pub struct Connection(Arc<Shared>);

struct Shared {
    frames: mpsc::UnboundedSender<Vec<u8>>,
    calls: Arc<Mutex<Calls>>,
    next: AtomicU32,
    reader: AbortHandle,
}

impl Drop for Shared {
    /// Closes the connection: the writer ends with its queue.
    fn drop(&mut self) {
        self.reader.abort();
    }
}

#[derive(Default)]
struct Calls {
    open: HashMap<u32, Waiter>,
    end: Option<(ConnectionEnd, Instant)>,
}

impl Connection {
    /// Connects and sends a hello as `client`, truncated to its bound. `patience` is the timeout.
    pub async fn open(
        socket: &Path,
        client: &str,
        patience: Duration,
    ) -> Result<Self, ConnectError> {
        match timeout(patience, hello(socket, client)).await {
            Ok(Ok((frames, writer))) => Ok(Self::start(frames, writer)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(unavailable(socket, "it does not answer")),
        }
    }

    fn start(reader: Frames, writer: Socket) -> Self {
        let (frames, queue) = mpsc::unbounded_channel();
        let calls = Arc::default();
        tokio::spawn(write_frames(writer, queue));
        let reader = tokio::spawn(read_frames(reader, Arc::clone(&calls)));
        Self(Arc::new(Shared {
            frames,
            calls,
            next: AtomicU32::new(0),
            reader: reader.abort_handle(),
        }))
    }

    pub fn ended(&self) -> Option<Instant> {
        self.0.calls().end.as_ref().map(|(_, when)| *when)
    }

    pub async fn call(&self, request: Request, news: &News) -> Result<Reply, CallError> {
        let mut call = self.begin(request, news.clone())?;
        match (&mut call.reply).await {
            Ok(reply) => reply.map_err(CallError::Refused),
            Err(_) => Err(self.0.calls().how_it_ended()),
        }
    }

    fn begin(&self, request: Request, news: News) -> Result<Call, CallError> {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let frame =
            frame::encode(&FromClient::Call { id, request }, caps::FRAME).map_err(|_| {
                CallError::Refused(
                    Refusal::new(
                        Code::TooLarge,
                        format!("the call exceeds {} bytes", caps::FRAME),
                    )
                    .next("send less input"),
                )
            })?;
        let (sender, reply) = oneshot::channel();
        {
            let mut calls = self.0.calls();
            if calls.end.is_some() {
                return Err(calls.how_it_ended());
            }
            calls.open.insert(
                id,
                Waiter {
                    reply: sender,
                    news,
                },
            );
        }
        // If the writer is gone, the reader ends the call.
        let _ = self.0.frames.send(frame);
        Ok(Call {
            id,
            reply,
            shared: Arc::clone(&self.0),
        })
    }
}

impl Shared {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        lock(&self.calls)
    }
}

/// The content is valid even if poisoned, because no code panics with the lock held.
fn lock(calls: &Mutex<Calls>) -> MutexGuard<'_, Calls> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Calls {
    fn how_it_ended(&self) -> CallError {
        match &self.end {
            Some((ConnectionEnd::Goodbye(refusal), _)) => CallError::Dismissed(refusal.clone()),
            Some((ConnectionEnd::Broken(why), _)) => CallError::Lost(why.clone()),
            None => CallError::Lost("the connection ended".to_owned()),
        }
    }
}

struct Call {
    id: u32,
    reply: oneshot::Receiver<Box<Result<Reply, Refusal>>>,
    shared: Arc<Shared>,
}

impl Drop for Call {
    fn drop(&mut self) {
        let open = self.shared.calls().open.remove(&self.id).is_some();
        if open && let Ok(frame) = frame::encode(&FromClient::Forget { id: self.id }, caps::FRAME) {
            // A broken connection needs no cancellation.
            let _ = self.shared.frames.send(frame);
        }
    }
}

async fn hello(socket: &Path, client: &str) -> Result<(Frames, Socket), ConnectError> {
    let writer = Socket::connect(socket)
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => ConnectError::NotAllowed(socket.to_path_buf()),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ConnectError::Absent(unreachable(socket, &error.to_string()))
            }
            _ => unavailable(socket, &error.to_string()),
        })?;
    let mut frames = Frames::new(writer.clone());
    let client = client.get(..client.floor_char_boundary(caps::CLIENT_NAME));
    let hello = FromClient::Hello(Hello {
        protocol: PROTOCOL,
        client: client.unwrap_or_default().to_owned(),
    });
    let broken = |error: FrameError| unavailable(socket, &error.to_string());
    let frame = frame::encode(&hello, caps::FRAME).map_err(broken)?;
    // The answer is read even if the write fails: a daemon that refuses may close before it reads the hello.
    let sent = writer.write_all(&frame).await;
    match frames.next().await {
        Ok(ToClient::Welcome { protocol, .. }) if protocol == PROTOCOL => Ok((frames, writer)),
        Ok(ToClient::Welcome { protocol, release }) => Err(unavailable(
            socket,
            &format!("remitd {release} speaks protocol {protocol}, this program {PROTOCOL}"),
        )),
        Ok(ToClient::Goodbye(refusal)) => Err(ConnectError::Refused(refusal)),
        Ok(ToClient::Progress { .. } | ToClient::Reply { .. }) => {
            Err(broken(FrameError::Malformed))
        }
        Err(error @ (FrameError::Closed | FrameError::Io(_))) => {
            let error = sent.err().map_or(error, FrameError::Io);
            Err(ConnectError::Absent(unreachable(
                socket,
                &error.to_string(),
            )))
        }
        Err(error) => Err(broken(error)),
    }
}

fn unavailable(socket: &Path, why: &str) -> ConnectError {
    ConnectError::Unavailable(unreachable(socket, why))
}

fn unreachable(socket: &Path, why: &str) -> Refusal {
    let socket = socket.display();
    Refusal::new(
        Code::DaemonUnavailable,
        format!("cannot reach remitd at '{socket}': {why}"),
    )
    .object(socket.to_string())
    .lift("systemctl status remitd shows why")
    .next("tell the user that remitd does not answer on this server; try again when it runs")
}

async fn write_frames(writer: Socket, mut queue: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(frame) = queue.recv().await {
        if writer.write_all(&frame).await.is_err() {
            return;
        }
    }
}

async fn read_frames(mut frames: Frames, calls: Arc<Mutex<Calls>>) {
    let end = loop {
        match frames.next().await {
            Ok(ToClient::Progress { id, progress }) => {
                if let Some(Waiter { news, .. }) = lock(&calls).open.get(&id) {
                    let _ = news.as_ref().map(|news| news.send(progress));
                }
            }
            Ok(ToClient::Reply { id, reply }) => {
                let waiter = lock(&calls).open.remove(&id);
                if let Some(Waiter { reply: sender, .. }) = waiter {
                    let _ = sender.send(Box::new(reply));
                }
            }
            Ok(ToClient::Goodbye(refusal)) => break ConnectionEnd::Goodbye(refusal),
            Ok(ToClient::Welcome { .. }) => {
                break ConnectionEnd::Broken(FrameError::Malformed.to_string());
            }
            Err(error) => break ConnectionEnd::Broken(error.to_string()),
        }
    };
    let mut calls = lock(&calls);
    calls.end = Some((end, Instant::now()));
    calls.open.clear();
}

/// Frames from the daemon. Most reads return exactly one.
struct Frames {
    reader: Socket,
    bytes: Vec<u8>,
}

impl Frames {
    fn new(reader: Socket) -> Self {
        let bytes = Vec::with_capacity(READ);
        Self { reader, bytes }
    }

    async fn next(&mut self) -> Result<ToClient, FrameError> {
        loop {
            let mut whole = HEADER;
            if let Some((field, rest)) = self.bytes.split_first_chunk::<HEADER>() {
                let length = frame::header(*field, caps::FRAME)?;
                if let Some(frame) = rest.get(..length) {
                    let message = frame::decode(frame);
                    self.bytes.drain(..HEADER + length);
                    // Memory of one long answer is released.
                    self.bytes.shrink_to(READ);
                    return message;
                }
                whole += length;
            }
            let missing = whole.saturating_sub(self.bytes.len());
            self.bytes.reserve(missing.max(1));
            match self.reader.read_buf(&mut self.bytes).await {
                Ok(0) if self.bytes.len() < HEADER => return Err(FrameError::Closed),
                Ok(0) => return Err(FrameError::Io(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) => return Err(FrameError::Io(error)),
            }
        }
    }
}
