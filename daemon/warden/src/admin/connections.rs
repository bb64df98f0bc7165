//! Connections on admin.sock: opening, waits, bounds. One that waits is never closed: its user would not know. For each
//! request it is checked that the user still administers remit. Processes of a login keep its groups after the
//! administrator is removed from them. The groups that the kernel reports permit nothing.

use std::collections::BTreeMap;
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

use super::{Admin, Admins};
use crate::approval::still_administers;
use crate::event_loop::epoll::{Interest, Reactor, Token};
use crate::identity::accounts::{People, Question};
use crate::identity::lookups::{LookUpPurpose, LookUps};
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
            lists: ListsDue::None,
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
                    && !self.showing.contains_key(number)
                    && !admin.standing.is_asked()
                    && admin.lists == ListsDue::None
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

/// The result of a connection's look-up. It is valid for one request.
#[derive(Debug)]
pub(super) enum AdminStanding {
    Unknown,
    Asked,
    /// The groups of the account, if it still administers remit.
    Known(Result<Vec<u32>, Refusal>),
}

impl AdminStanding {
    pub(super) const fn is_asked(&self) -> bool {
        matches!(self, Self::Asked)
    }

    pub(super) fn forget_known(&mut self) {
        if matches!(self, Self::Known(_)) {
            *self = Self::Unknown;
        }
    }

    pub(super) fn take(&mut self) -> Result<Vec<u32>, Refusal> {
        match std::mem::replace(self, Self::Unknown) {
            Self::Known(known) => known,
            Self::Unknown | Self::Asked => Err(unsure("it was not looked up")),
        }
    }
}

/// The lists that a connection gets, one for each request that asked for the next change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ListsDue {
    #[default]
    None,
    Changed(usize),
    /// The connection's look-up is for them, and for no request.
    LookedUp(usize),
}

impl ListsDue {
    pub(super) fn add(&mut self) {
        *self = match *self {
            Self::None => Self::Changed(1),
            Self::Changed(number) => Self::Changed(number.saturating_add(1)),
            Self::LookedUp(number) => Self::LookedUp(number.saturating_add(1)),
        };
    }
}

/// Connections in look-up, by account, one look-up at a time. A later request waits for a look-up after it.
#[derive(Debug, Default)]
pub(super) struct Askers(BTreeMap<(u32, String), Asking>);

#[derive(Debug, Default)]
struct Asking {
    now: Vec<u64>,
    next: Vec<u64>,
}

/// Returns true if the result is known. Otherwise a look-up runs, and the connection is served again after it.
pub(super) fn knows_standing(
    admins: &mut Admins,
    lookups: &mut LookUps,
    reactor: &mut Reactor,
    number: u64,
    admin: &mut Admin,
) -> bool {
    match admin.standing {
        AdminStanding::Known(_) => return true,
        AdminStanding::Asked => return false,
        AdminStanding::Unknown => {}
    }
    let (uid, user) = (admin.subject.uid(), admin.subject.user());
    let asked = match admins.askers.0.get_mut(&(uid, user.to_owned())) {
        _ if uid == 0 => {
            admin.standing = AdminStanding::Known(Ok(admin.subject.gids().to_vec()));
            return true;
        }
        Some(asking) => {
            asking.next.push(number);
            Ok(())
        }
        None => ask_standing(admins, lookups, reactor, (uid, user), vec![number]),
    };
    let is_known = asked.is_err();
    admin.standing = match asked {
        Ok(()) => AdminStanding::Asked,
        Err(refusal) => AdminStanding::Known(Err(refusal)),
    };
    is_known
}

fn ask_standing(
    admins: &mut Admins,
    lookups: &mut LookUps,
    reactor: &mut Reactor,
    (uid, user): (u32, &str),
    now: Vec<u64>,
) -> Result<(), Refusal> {
    let mut question = Question::default();
    question.account(uid, user);
    let then = LookUpPurpose::Serve(uid, user.to_owned());
    lookups.look_up(reactor, &question, then)?;
    let next = Vec::new();
    let asking = Asking { now, next };
    admins.askers.0.insert((uid, user.to_owned()), asking);
    Ok(())
}

pub fn on_standing_looked_up(
    admins: &mut Admins,
    lookups: &mut LookUps,
    reactor: &mut Reactor,
    (uid, user): (u32, &str),
    people: Result<People, String>,
) {
    let Some(Asking { now, next }) = admins.askers.0.remove(&(uid, user.to_owned())) else {
        return;
    };
    let standing = people.map_err(|why| unsure(&why)).and_then(|people| {
        let found = still_administers(uid, user, &people, admins.group);
        found.map(<[u32]>::to_vec).map_err(|why| {
            Refusal::new(
                Code::DeniedRule,
                format!("you are no longer an administrator of remit: {why}"),
            )
            .next("log in again, or ask an administrator")
        })
    });
    if !next.is_empty()
        && let Err(refusal) = ask_standing(admins, lookups, reactor, (uid, user), next.clone())
    {
        serve_again(admins, reactor, &next, &Err(refusal));
    }
    serve_again(admins, reactor, &now, &standing);
}

fn serve_again(
    admins: &mut Admins,
    reactor: &Reactor,
    numbers: &[u64],
    standing: &Result<Vec<u32>, Refusal>,
) {
    for number in numbers {
        let Some(admin) = admins.live.get_mut(number) else {
            continue;
        };
        admin.standing = AdminStanding::Known(standing.clone());
        let token = Token::Admin(*number);
        match reactor.add(&admin.stream, token, Interest::Read) {
            Ok(()) => admins.due.push_back(*number),
            Err(_) => admins.close(*number, reactor),
        }
    }
}

fn unsure(why: &str) -> Refusal {
    let text = format!("cannot determine whether you are still an administrator of remit: {why}");
    Refusal::new(Code::DaemonUnavailable, text).next("try again in a moment, or as root")
}
