//! Connections on admin.sock: opening, waits, bounds. One that waits is never closed: its user would not know.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use remit_common::admin::{AdminCall, AdminReply};
use remit_common::caps;
use remit_common::frame::{self, FrameError, HEADER};
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_link::ForeignSocket;
use remit_link::foreign::Unread;
use remit_sys::sys;

use super::{Admin, AdminStanding, Admins};
use crate::event_loop::epoll::{Interest, Reactor, Token};
use crate::identity::peer::Subject;
use crate::job::admission::is_full;

/// Idle connections of one user. A further one closes the oldest, so idle connections block nobody.
const IDLE_PER_USER: usize = 4;
pub const PER_USER: usize = 64;
/// A connection is busy for this time after it connects, or after an answer that it waited for.
const ASKS_WITHIN: Duration = Duration::from_secs(2);

impl Admin {
    fn new(stream: ForeignSocket, subject: Subject, pidfd: OwnedFd) -> Self {
        Self {
            stream,
            subject,
            pidfd,
            input: Vec::new(),
            output: Vec::new(),
            busy_until: Instant::now() + ASKS_WITHIN,
            standing: AdminStanding::Unknown,
        }
    }

    pub(super) fn was_answered(&mut self) {
        self.busy_until = Instant::now() + ASKS_WITHIN;
    }

    /// Reads what has come. Returns whether nothing more will.
    pub fn receive(&mut self) -> Result<bool, FrameError> {
        let closed = !self.standing.is_asked() && self.read()?;
        // The process that connected has ended. Another process may hold the socket now.
        match sys::pidfd_alive(self.pidfd.as_fd()) {
            Ok(true) => Ok(closed),
            Ok(false) | Err(_) => Err(FrameError::Closed),
        }
    }

    pub fn has_request(&self) -> bool {
        has_frame(&self.input)
    }

    fn read(&mut self) -> Result<bool, FrameError> {
        let mut buffer = [0; 16 << 10];
        while self.input.len() <= caps::ADMIN_FRAME + HEADER {
            match self.stream.recv(&mut buffer) {
                Ok(piece) if piece.length == 0 => return Ok(true),
                Ok(piece) => self.input.extend(buffer.iter().take(piece.length)),
                Err(Unread::Errno(Errno::EAGAIN)) => break,
                Err(unread) => return Err(FrameError::Io(io::Error::from(unread))),
            }
        }
        Ok(false)
    }
}

impl Admins {
    /// Returns the connections to close for another one of this user: idle ones above their bound, oldest first. At
    /// a bound for all, the oldest goes that waits for no answer. Fails with `busy` if all wait.
    fn connections_to_end(&self, uid: u32) -> Result<Vec<u64>, Refusal> {
        let now = Instant::now();
        let mut ended: Vec<u64> = Vec::new();
        let found = |ended: &[u64], is_meant: &dyn Fn(u64, &Admin) -> bool| {
            let live = self.live.iter().map(|(number, admin)| (*number, admin));
            let left = live.filter(|(number, admin)| {
                !ended.contains(number)
                    && self.waiting_for(*number) == 0
                    && !admin.standing.is_asked()
                    && is_meant(*number, admin)
            });
            left.map(|(number, _)| number).collect::<Vec<u64>>()
        };
        let is_own = |admin: &Admin| admin.subject.uid() == uid;
        let own_idle = found(&ended, &|_, admin| is_own(admin) && now >= admin.busy_until);
        let over = (own_idle.len() + 1).saturating_sub(IDLE_PER_USER);
        ended.extend(own_idle.iter().take(over));
        let idle = found(&ended, &|_, admin| now >= admin.busy_until);
        let over = (idle.len() + 1).saturating_sub(caps::ADMIN_SESSIONS);
        ended.extend(idle.iter().take(over));
        let own = self.of_user(uid);
        let own = own.iter().filter(|number| !ended.contains(number)).count();
        let all = self.live.len().saturating_sub(ended.len());
        let (cap, scope, instead) = if own >= PER_USER {
            (
                PER_USER,
                "of one user",
                found(&ended, &|_, admin| is_own(admin)),
            )
        } else if is_full(own, all, caps::ADMIN_CONNECTIONS) {
            (
                caps::ADMIN_CONNECTIONS,
                "of all",
                found(&ended, &|_, _| true),
            )
        } else {
            return Ok(ended);
        };
        let Some(oldest) = instead.first() else {
            let text =
                format!("{cap} connections {scope} to admin.sock are waiting already, the maximum");
            let refusal = Refusal::new(Code::Busy, text);
            return Err(refusal.next("end one of the commands that are waiting"));
        };
        ended.push(*oldest);
        Ok(ended)
    }
}

/// Refuses a connection before its first request. The client reads this as the answer to that request.
pub fn refuse(stream: &ForeignSocket, refusal: Refusal) {
    if let Ok(bytes) = frame::encode(&AdminReply::Refused(refusal), caps::ADMIN_FRAME) {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let _ = send(stream.as_raw_fd(), &bytes, flags);
    }
}

pub(super) fn take_frame(input: &mut Vec<u8>) -> Result<Option<AdminCall>, FrameError> {
    let Some(field) = input.first_chunk() else {
        return Ok(None);
    };
    let end = HEADER + frame::header(*field, caps::ADMIN_FRAME)?;
    let Some(body) = input.get(HEADER..end) else {
        return Ok(None);
    };
    let call = frame::decode(body)?;
    input.drain(..end);
    Ok(Some(call))
}

/// Returns true if `input` begins with a whole frame or with an invalid header, which `take_frame` reports.
pub(super) fn has_frame(input: &[u8]) -> bool {
    input.first_chunk().is_some_and(|field| {
        let length = frame::header(*field, caps::ADMIN_FRAME).unwrap_or(0);
        input.len() >= HEADER + length
    })
}

impl Admins {
    pub const fn group(&self) -> u32 {
        self.group
    }

    pub fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.numbered().map(|(_, subject)| subject)
    }

    pub fn numbered(&self) -> impl Iterator<Item = (u64, &Subject)> {
        let live = self.live.iter();
        live.map(|(number, admin)| (*number, &admin.subject))
    }

    pub fn close(&mut self, number: u64, reactor: &Reactor) {
        if let Some(old) = self.live.remove(&number) {
            self.forget(number);
            reactor.remove(&old.stream);
        }
    }

    /// Returns whether a new connection of this user ends another one, or is refused.
    pub fn is_crowded(&self, uid: u32) -> bool {
        let ended = self.connections_to_end(uid);
        ended.map_or(true, |ended| !ended.is_empty())
    }

    pub fn end_others(&mut self, uid: u32, reactor: &Reactor) -> Result<(), Refusal> {
        for number in self.connections_to_end(uid)? {
            self.close(number, reactor);
        }
        Ok(())
    }

    /// Adds a connection. Returns its number, if it can be watched.
    pub fn add(
        &mut self,
        reactor: &Reactor,
        stream: ForeignSocket,
        subject: Subject,
        pidfd: OwnedFd,
    ) -> Option<u64> {
        self.next += 1;
        let number = self.next;
        reactor
            .add(&stream, Token::Admin(number), Interest::Read)
            .ok()?;
        let admin = Admin::new(stream, subject, pidfd);
        self.live.insert(number, admin);
        Some(number)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    Policy,
    Checkup,
    /// A job's end, after a stop.
    End(JobId),
    /// A job's end, for any cause.
    Job(JobId),
    Show(u64),
    /// The next change of the list of requests.
    Pending,
    Approval(JobId),
    Grant(u64),
    History(u64),
}
