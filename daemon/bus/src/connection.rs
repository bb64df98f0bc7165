//! One connection of a job and its connection to the bus. Both are non-blocking. Invariants: nothing but a call of the
//! table reaches the bus, nothing but replies reaches the job, and no buffer exceeds its bound.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, send, socket,
};
use nix::unistd::geteuid;
use remit_closer::Closer;
use remit_link::ForeignSocket;
use remit_link::foreign::Unread;

use crate::ends::{JobEnd, guard, pair};
use crate::greeting::{self, Greeting, Step};
use crate::header;
use crate::limits::{CALLS, Job};
use crate::message::{self, Call, FIXED, MESSAGE, Malformed};
use crate::replies::Replies;
use crate::table::{self, LIST, SEARCH, Table, Verdict};

/// Bytes of one read.
pub const CHUNK: usize = 64 << 10;
/// Bytes in a buffer above which its source is not read.
const FULL: usize = 128 << 10;

/// Calls that the bus has not answered. What a job does not read is kept by the bus, outside of any limit of the job.
const PENDING: u64 = 32;
/// Bytes of the answer to Hello.
const NAMING: usize = 1024;

const DRIVER: &str = "org.freedesktop.DBus";
const HELLO: Call<'_> = Call {
    serial: 1,
    wants_reply: true,
    path: "/org/freedesktop/DBus",
    interface: DRIVER,
    member: "Hello",
    destination: DRIVER,
    signature: "",
    body: &[],
};
/// Of AccessDenied sd-bus shows two words of its own instead of the message.
const REFUSED: &str = "org.freedesktop.DBus.Error.NotSupported";
const LIMITS_EXCEEDED: &str = "org.freedesktop.DBus.Error.LimitsExceeded";

#[derive(Debug, PartialEq, Eq)]
pub struct Ended;

impl From<Malformed> for Ended {
    fn from(_: Malformed) -> Self {
        Self
    }
}

#[derive(Debug)]
enum Stage {
    /// The bus has not accepted the proxy. What it has said so far.
    Bus(Vec<u8>),
    /// The bus has not answered the proxy's Hello. That is not left to the job: until Hello, dbus-daemon counts a
    /// connection as incomplete, and with 64 of these it accepts nobody else of the host.
    Naming(Vec<u8>),
    Greeting(Greeting),
    Hello,
    Calls,
}

#[derive(Debug)]
pub struct Connection {
    pub uid: u32,
    job: ForeignSocket,
    bus: ForeignSocket,
    since: Instant,
    stage: Stage,
    guid: String,
    /// The unique name, which the job's Hello is answered with.
    name: String,
    from_job: Vec<u8>,
    to_bus: Vec<u8>,
    to_job: Vec<u8>,
    /// The proxy's own replies, while a reply of the bus is passing.
    answers: Vec<u8>,
    replies: Replies,
    /// Calls that the bus has got, its own Hello included.
    asked: u64,
    serial: u32,
    is_bus_gone: bool,
    /// Set by its owner, which then removes it.
    pub is_over: bool,
}

impl Connection {
    /// Connects to the bus. Returns the job's end, too.
    pub fn open(
        uid: u32,
        bus: &Path,
        now: Instant,
        closer: &Closer,
        counted: &Arc<()>,
    ) -> io::Result<(Self, JobEnd)> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let upstream = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        let upstream = guard(upstream, closer, counted);
        connect(upstream.as_raw_fd(), &UnixAddr::new(bus)?)?;
        let (job, end) = pair(closer, counted)?;
        let connection = Self {
            uid,
            job,
            bus: upstream,
            since: now,
            stage: Stage::Bus(Vec::new()),
            guid: String::new(),
            name: String::new(),
            from_job: Vec::new(),
            to_bus: greeting::hello(geteuid().as_raw()),
            to_job: Vec::new(),
            answers: Vec::new(),
            replies: Replies::default(),
            asked: 0,
            serial: 0,
            is_bus_gone: false,
            is_over: false,
        };
        Ok((connection, end))
    }

    #[must_use]
    pub fn ends(&self) -> (BorrowedFd<'_>, BorrowedFd<'_>) {
        (self.job.as_fd(), self.bus.as_fd())
    }

    /// Returns the events it needs of the job's end and the bus's. Without any, only the job's is polled, for its hang-up.
    #[must_use]
    pub fn wants(&self) -> (PollFlags, PollFlags) {
        if self.is_bus_gone {
            return (PollFlags::POLLOUT, PollFlags::empty());
        }
        let flags = |reads, writes| {
            let read = if reads {
                PollFlags::POLLIN
            } else {
                PollFlags::empty()
            };
            let write = if writes {
                PollFlags::POLLOUT
            } else {
                PollFlags::empty()
            };
            read | write
        };
        let reads_job = self.hears_job() && self.from_job.len() < MESSAGE;
        (
            flags(reads_job, !self.to_job.is_empty()),
            flags(self.to_job.len() < FULL, !self.to_bus.is_empty()),
        )
    }

    const fn hears_job(&self) -> bool {
        !matches!(self.stage, Stage::Bus(_) | Stage::Naming(_))
    }

    /// Returns when it began, if authentication and Hello are not done.
    #[must_use]
    pub fn greets_since(&self) -> Option<Instant> {
        match self.stage {
            Stage::Calls => None,
            Stage::Bus(_) | Stage::Naming(_) | Stage::Greeting(_) | Stage::Hello => {
                Some(self.since)
            }
        }
    }

    pub fn on_job(
        &mut self,
        events: PollFlags,
        job: &mut Job,
        table: &Table,
        scratch: &mut [u8],
        now: Instant,
    ) -> Result<(), Ended> {
        let has_hung_up = events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR);
        let is_read = !self.is_bus_gone && self.hears_job();
        let mut is_gone = has_hung_up && !is_read;
        let mut is_more = is_read && (has_hung_up || events.contains(PollFlags::POLLIN));
        while is_more {
            let length = MESSAGE.saturating_sub(self.from_job.len());
            let buffer = scratch.get_mut(..length).unwrap_or_default();
            match read(&self.job, buffer) {
                Some([]) => is_gone = has_hung_up || length > 0,
                Some(bytes) => self.from_job.extend(bytes),
                None => {}
            }
            // The last bytes of a job count, as many as the buffer takes.
            is_more = has_hung_up && !is_gone;
        }
        self.proceed(job, table, now)?;
        match is_gone {
            true => Err(Ended),
            false => Ok(()),
        }
    }

    pub fn on_bus(
        &mut self,
        job: &mut Job,
        table: &Table,
        scratch: &mut [u8],
        now: Instant,
    ) -> Result<(), Ended> {
        if self.to_job.len() < FULL {
            match read(&self.bus, scratch) {
                Some([]) => self.is_bus_gone = true,
                Some(bytes) => self.on_bytes_of_bus(bytes)?,
                None => {}
            }
        }
        self.proceed(job, table, now)
    }

    fn on_bytes_of_bus(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        if let Stage::Bus(answer) = &mut self.stage {
            answer.extend(bytes);
            if let Some(guid) = greeting::accepted(answer).map_err(|()| Ended)? {
                self.guid = guid;
                self.to_bus.extend(greeting::BEGIN);
                header::forward(&mut self.to_bus, &HELLO, false);
                self.asked = 1;
                self.stage = Stage::Naming(Vec::new());
            }
            return Ok(());
        }
        if let Stage::Naming(answer) = &mut self.stage {
            self.replies.pass(bytes, answer)?;
            if answer.len() > NAMING {
                return Err(Ended);
            }
            if self.replies.count > 0 {
                self.name = greeting::name(answer).ok_or(Ended)?;
                self.stage = Stage::Greeting(Greeting::default());
            }
            return Ok(());
        }
        self.replies.pass(bytes, &mut self.to_job)?;
        if self.replies.is_between() {
            self.to_job.append(&mut self.answers);
        }
        Ok(())
    }

    fn proceed(&mut self, job: &mut Job, table: &Table, now: Instant) -> Result<(), Ended> {
        let mut at = 0;
        while !self.is_bus_gone {
            let used = match &mut self.stage {
                Stage::Bus(_) | Stage::Naming(_) => break,
                Stage::Greeting(greeting) => {
                    let bytes = self.from_job.get(at..).unwrap_or_default();
                    match greeting.step(bytes, &self.guid) {
                        Step::More => break,
                        Step::End => return Err(Ended),
                        Step::Answer { used, text } => {
                            self.to_job.extend(text.bytes());
                            used
                        }
                        Step::Messages { used } => {
                            self.stage = Stage::Hello;
                            used
                        }
                    }
                }
                Stage::Hello | Stage::Calls => match self.on_message(at, job, table, now)? {
                    Some(used) => used,
                    None => break,
                },
            };
            at += used;
        }
        self.from_job.drain(..at.min(self.from_job.len()));
        write(&self.job, &mut self.to_job)?;
        // The job can still read what the bus said before it closed.
        if write(&self.bus, &mut self.to_bus).is_err() {
            self.is_bus_gone = true;
        }
        match self.is_bus_gone && self.to_job.is_empty() {
            true => Err(Ended),
            false => Ok(()),
        }
    }

    /// Handles the message at this offset of the job's bytes. Returns its length, `None` if it must stay in the buffer.
    fn on_message(
        &mut self,
        at: usize,
        job: &mut Job,
        table: &Table,
        now: Instant,
    ) -> Result<Option<usize>, Ended> {
        let pending = self.answers.len().max(self.to_job.len());
        let unanswered = self.asked.saturating_sub(self.replies.count);
        if pending.max(self.to_bus.len()) >= FULL || unanswered >= PENDING {
            return Ok(None);
        }
        let bytes = self.from_job.get(at..).unwrap_or_default();
        let Some(fixed) = bytes.first_chunk::<FIXED>() else {
            return Ok(None);
        };
        let length = message::length(fixed)?;
        let Some(bytes) = bytes.get(..length) else {
            return Ok(None);
        };
        let call = message::parse(bytes)?;
        let is_hello = call.interface == DRIVER && call.member == "Hello";
        if is_hello != matches!(self.stage, Stage::Hello) || is_hello && call.destination != DRIVER
        {
            return Err(Ended);
        }
        let out = match self.replies.is_between() {
            true => &mut self.to_job,
            false => &mut self.answers,
        };
        self.serial = self.serial.wrapping_add(1).max(1);
        let (serial, to) = (self.serial, call.serial);
        if !job.count(&call, now) {
            // Its own processor time is limited, this process's is not: a flood of calls that costs it no reading ends.
            if !call.wants_reply {
                return Err(Ended);
            }
            let text = format!(
                "Refused by remit: this job makes more than {CALLS} calls of the bus a second; one that lists all that a \
                 service has counts as {LIST}, one for processes or the file of a unit as {SEARCH}. Make fewer calls"
            );
            header::error(out, serial, to, LIMITS_EXCEEDED, &text);
            return Ok(Some(length));
        }
        if is_hello {
            self.stage = Stage::Calls;
            if call.wants_reply {
                header::text(out, serial, to, &self.name);
            }
            return Ok(Some(length));
        }
        match table.decide(&call) {
            // Nobody sees what it would look at.
            Verdict::Forward { .. } if !call.wants_reply => {}
            Verdict::Forward { may_start } => {
                header::forward(&mut self.to_bus, &call, may_start);
                self.asked += 1;
            }
            Verdict::Empty if call.wants_reply => header::reply(out, serial, to),
            Verdict::Empty => {}
            Verdict::Refused => {
                job.refuse(&call.name());
                if call.wants_reply {
                    header::error(out, serial, to, REFUSED, &table::refusal(&call));
                }
            }
        }
        Ok(Some(length))
    }
}

/// Reads once: `None` if there is nothing now, no bytes at the end. Descriptors are the end: they stay in the socket.
fn read<'a>(from: &ForeignSocket, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    match from.recv(buffer) {
        Ok(piece) => buffer.get(..piece.length),
        Err(Unread::Errno(Errno::EAGAIN | Errno::EINTR)) => None,
        Err(_) => Some(&[]),
    }
}

/// Writes as much as the other end takes. An empty buffer gives its memory back.
fn write(to: &ForeignSocket, buffer: &mut Vec<u8>) -> Result<(), Ended> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let mut at = 0;
    let result = loop {
        match buffer.get(at..) {
            None | Some([]) => break Ok(()),
            Some(rest) => match send(to.as_raw_fd(), rest, flags) {
                Ok(length) => at += length,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break Ok(()),
                Err(_) => break Err(Ended),
            },
        }
    };
    match at >= buffer.len() {
        true => *buffer = Vec::new(),
        false => drop(buffer.drain(..at)),
    }
    result
}
