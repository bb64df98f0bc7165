//! Connections on admin.sock: who is let in, and which idle one goes for it.
//!
//! One that waits for an answer never goes: whoever watches would look at nothing and not know.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use remit_common::admin::AdminReply;
use remit_common::frame::{self, FrameError};
use remit_common::refusal::{Code, Refusal};
use remit_common::{caps, frame::HEADER};
use remit_link::ForeignSocket;
use remit_link::foreign::Unread;

use super::{Admin, Admins};
use crate::peer::Subject;

/// Idle connections of one user. One more, and the oldest makes room: idle ones keep nobody out.
const IDLE_PER_USER: usize = 4;
/// Connections of one user, those that wait too.
pub const PER_USER: usize = 64;
/// For somebody who has connected, or was just answered after a wait, to ask.
const ASKS_WITHIN: Duration = Duration::from_secs(2);

impl Admin {
    pub(super) fn new(stream: ForeignSocket, subject: Subject, pidfd: OwnedFd) -> Self {
        Self {
            stream,
            subject,
            pidfd,
            input: Vec::new(),
            output: Vec::new(),
            busy_until: Instant::now() + ASKS_WITHIN,
        }
    }

    /// It will ask again in a moment.
    pub(super) fn was_answered(&mut self) {
        self.busy_until = Instant::now() + ASKS_WITHIN;
    }

    /// Reads what is there, up to one frame and more. `true` at the end.
    pub(super) fn read(&mut self) -> Result<bool, FrameError> {
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
    /// Which connections end for another one of this user: idle ones beyond their number, the oldest first; where there
    /// are too many in all, one that has just come and not asked.
    ///
    /// # Errors
    /// None may be let in: too many wait.
    pub(super) fn room(&self, uid: u32) -> Result<Vec<u64>, Refusal> {
        let now = Instant::now();
        let mut ended: Vec<u64> = Vec::new();
        let found = |ended: &[u64], is_meant: &dyn Fn(u64, &Admin) -> bool| {
            let live = self.live.iter().map(|(number, admin)| (*number, admin));
            let left = live.filter(|(number, admin)| {
                !ended.contains(number)
                    && self.waiting_for(*number) == 0
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
        let (cap, whose, instead) = if own >= PER_USER {
            (
                PER_USER,
                "of one user",
                found(&ended, &|_, admin| is_own(admin)),
            )
        } else if own > 0 && all >= caps::ADMIN_CONNECTIONS {
            (
                caps::ADMIN_CONNECTIONS,
                "of all",
                found(&ended, &|_, _| true),
            )
        } else {
            return Ok(ended);
        };
        let Some(oldest) = instead.first() else {
            let text = format!("{cap} connections {whose} to admin.sock wait already");
            let refusal = Refusal::new(Code::Busy, text);
            return Err(refusal.next("end one of the commands that wait"));
        };
        ended.push(*oldest);
        Ok(ended)
    }
}

/// Refuses a connection before it has asked anything: its first request gets this answer.
pub fn refuse(stream: &ForeignSocket, refusal: Refusal) {
    if let Ok(bytes) = frame::encode(&AdminReply::Refused(refusal), caps::ADMIN_FRAME) {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let _ = send(stream.as_raw_fd(), &bytes, flags);
    }
}
