//! Holds connections until their account is known. A child looks it up. Nothing is read from them meanwhile. Then opens and
//! ends their sessions, which the broker serves.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::socket::{MsgFlags, send};
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::Goodbye;
use remit_common::{caps, frame};
use remit_link::{ForeignSocket, ToBroker};
use remit_policy::Policy;

use crate::admin;
use crate::audit::reports::Reports;
use crate::event_loop::epoll::{Interest, Reactor, Token};
use crate::identity::accounts::{People, Question};
use crate::identity::listeners::Listeners;
use crate::identity::lookups::{LookUpPurpose, LookUps};
use crate::identity::peer::{Nameless, NoSubject, Subject};
use crate::identity::sessions::Sessions;
use crate::identity::user_names::{UserNames, nameless};

/// Waiting connections, at most: as many as there can be sessions.
const MOST: usize = caps::SESSIONS + caps::SESSION_USERS;
/// Uids in look-up at a time. Bounded, because look-ups for people and grants need free slots, too.
const AT_ONCE: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Client,
    Admin,
}

impl Door {
    fn refuse(self, stream: &ForeignSocket, refusal: Refusal) {
        match self {
            Self::Client => say_goodbye(stream, refusal),
            Self::Admin => admin::refuse(stream, refusal),
        }
    }
}

/// A connection, with its peer: nameless until its account is known.
#[derive(Debug)]
pub struct Arrival<C> {
    pub door: Door,
    pub stream: ForeignSocket,
    pub caller: C,
    pub pidfd: OwnedFd,
}

pub type Admitted = Arrival<Subject>;

impl Arrival<Nameless> {
    fn named(self, name: String) -> Admitted {
        Arrival {
            door: self.door,
            stream: self.stream,
            caller: self.caller.named(name),
            pidfd: self.pidfd,
        }
    }
}

#[derive(Debug, Default)]
pub struct Arrivals {
    waiting: Vec<Arrival<Nameless>>,
    asked: BTreeSet<u32>,
}

impl Arrivals {
    fn has_capacity(&self, uid: u32) -> bool {
        let own = self.waiting.iter().filter(|one| one.caller.uid() == uid);
        // More than the sessions of a user, so that the refusal names the bound for sessions.
        own.count() < 2 * caps::SESSIONS_PER_UID && self.waiting.len() < MOST
    }

    fn next(&self) -> Option<u32> {
        let mut uids = self.waiting.iter().map(|one| one.caller.uid());
        let next = uids.find(|uid| !self.asked.contains(uid))?;
        (self.asked.len() < AT_ONCE).then_some(next)
    }

    fn take(&mut self, uid: u32) -> Vec<Arrival<Nameless>> {
        self.asked.remove(&uid);
        let own = |arrival: &mut Arrival<Nameless>| arrival.caller.uid() == uid;
        self.waiting.extract_if(.., own).collect()
    }
}

/// Everybody at the other end of a socket: who waits to be let in, and who has a session.
#[derive(Debug)]
pub struct Callers {
    pub names: UserNames,
    pub listeners: Listeners,
    /// Connections of clients are accepted.
    accepting: bool,
    pub arrivals: Arrivals,
    pub lookups: LookUps,
    pub sessions: Sessions,
}

impl Callers {
    pub fn new(listeners: Listeners) -> Self {
        Self {
            names: UserNames::read(),
            listeners,
            accepting: false,
            arrivals: Arrivals::default(),
            lookups: LookUps::default(),
            sessions: Sessions::default(),
        }
    }

    pub fn accept_more(&mut self, more: bool, reactor: &Reactor) {
        if more == self.accepting {
            return;
        }
        self.accepting = more;
        let clients = &self.listeners.clients;
        match more {
            true => drop(reactor.add(clients, Token::Clients, Interest::Read)),
            false => reactor.remove(clients),
        }
    }
}

/// What lets connections in. They go on to the event loop, because a session touches other parts.
pub struct ArrivalCx<'a> {
    pub callers: &'a mut Callers,
    pub reports: &'a mut Reports,
    pub reactor: &'a mut Reactor,
    pub policy: &'a Policy,
    /// Uids without an account that `remit.toml` names.
    pub numbers: &'a [u32],
}

/// Returns the caller if its account is known. Otherwise it waits for a look-up, or is refused.
pub fn arrive(
    cx: &mut ArrivalCx<'_>,
    door: Door,
    stream: ForeignSocket,
    peer: Result<(Nameless, OwnedFd), NoSubject>,
) -> Option<Admitted> {
    let (caller, pidfd) = match peer {
        Ok(peer) => peer,
        Err(none) => {
            turn_away(cx, door, &none);
            return None;
        }
    };
    let uid = caller.uid();
    let arrival = Arrival {
        door,
        stream,
        caller,
        pidfd,
    };
    if let Some(name) = cx.callers.names.name(uid) {
        return let_in(cx, arrival.named(name));
    }
    if !cx.callers.arrivals.has_capacity(uid) {
        let text = "too many connections are waiting for their accounts to be looked up";
        let refusal = Refusal::new(Code::Busy, text).next("connect again in a moment");
        refuse(cx, arrival.named(nameless(uid)), refusal);
        return None;
    }
    cx.callers.arrivals.waiting.push(arrival);
    ask_for_names(cx);
    None
}

fn ask_for_names(cx: &mut ArrivalCx<'_>) {
    while let Some(uid) = cx.callers.arrivals.next() {
        let mut question = Question::default();
        question.account(uid, &nameless(uid));
        let (lookups, then) = (&mut cx.callers.lookups, LookUpPurpose::Name(uid));
        match lookups.look_up(cx.reactor, &question, then) {
            Ok(()) => {
                cx.callers.arrivals.asked.insert(uid);
            }
            // The look-ups that still run continue with this uid when they end.
            Err(_) if !cx.callers.arrivals.asked.is_empty() => return,
            Err(refusal) => close_arrivals(cx, uid, &refusal),
        }
    }
}

/// Refuses and records all connections of a uid whose name is not known.
fn close_arrivals(cx: &mut ArrivalCx<'_>, uid: u32, refusal: &Refusal) {
    for arrival in cx.callers.arrivals.take(uid) {
        refuse(cx, arrival.named(nameless(uid)), refusal.clone());
    }
}

pub fn on_name_looked_up(
    cx: &mut ArrivalCx<'_>,
    uid: u32,
    people: Result<People, String>,
) -> Vec<Admitted> {
    let found = people.and_then(|people| {
        let name = people.names().find(|(of, _)| *of == uid);
        let name = name.map(|(_, name)| name.map(str::to_owned));
        name.ok_or_else(|| format!("cannot look up the account of uid {uid}"))
    });
    let mut admitted = Vec::new();
    match found {
        Ok(name) => {
            cx.callers.names.learn(uid, name.as_deref());
            let name = name.unwrap_or_else(|| nameless(uid));
            for arrival in cx.callers.arrivals.take(uid) {
                admitted.extend(let_in(cx, arrival.named(name.clone())));
            }
        }
        Err(why) => {
            let text = format!("a connection was closed: {why}");
            close_arrivals(cx, uid, &Refusal::new(Code::DaemonUnavailable, text));
        }
    }
    ask_for_names(cx);
    admitted
}

fn let_in(cx: &mut ArrivalCx<'_>, admitted: Admitted) -> Option<Admitted> {
    match check_account(cx, &admitted.caller) {
        Ok(()) => Some(admitted),
        Err(refusal) => {
            refuse(cx, admitted, refusal);
            None
        }
    }
}

fn refuse(cx: &mut ArrivalCx<'_>, refused: Admitted, refusal: Refusal) {
    let is_stranger = is_stranger(cx, &refused.caller);
    let reports = &mut cx.reports;
    reports.record_refused_arrival(Some(&refused.caller), is_stranger, &refusal);
    refused.door.refuse(&refused.stream, refusal);
}

/// Returns true if this uid has no account, as far as is known, and nothing names it by its number.
fn is_stranger(cx: &ArrivalCx<'_>, subject: &Subject) -> bool {
    let uid = subject.uid();
    let is_named = || cx.numbers.contains(&uid) || cx.policy.names_number(uid);
    uid != 0 && subject.user() == nameless(uid) && !is_named()
}

/// Refuses a uid without an account, unless something names it by its number. A process can change to one of its user's
/// subordinate uids (newuidmap(1), or a service that provides them). Each would be a new user for denials and bounds.
fn check_account(cx: &ArrivalCx<'_>, subject: &Subject) -> Result<(), Refusal> {
    let uid = subject.uid();
    if !is_stranger(cx, subject) {
        return Ok(());
    }
    let text = format!(
        "uid {uid} has no account, and neither the policy nor remit.toml names it by number"
    );
    Err(Refusal::new(Code::DeniedRule, text)
        .object(uid.to_string())
        .lift(
            "create an account, or write '#UID' in a policy rule, or use accounts.numbers in remit.toml",
        )
        .next("connect as a user with an account"))
}

fn turn_away(cx: &mut ArrivalCx<'_>, door: Door, none: &NoSubject) {
    let which = match door {
        Door::Client => "a connection",
        Door::Admin => "a connection to admin.sock",
    };
    let refusal = Refusal::new(Code::DeniedRule, format!("{which} was closed: {none}"));
    let subject = none.uid.map(|uid| {
        let name = cx.callers.names.name(uid).unwrap_or_else(|| nameless(uid));
        Subject::gone(uid, name)
    });
    let is_stranger = subject.as_ref().is_some_and(|one| is_stranger(cx, one));
    cx.reports
        .record_refused_arrival(subject.as_ref(), is_stranger, &refusal);
}

pub fn let_client_in(
    sessions: &mut Sessions,
    reports: &mut Reports,
    reactor: &Reactor,
    client: Admitted,
) {
    let Admitted {
        stream,
        caller: subject,
        pidfd,
        ..
    } = client;
    if !reports.broker.is_ready() {
        // The broker ended during the look-up. The next one serves whoever connects again.
        return;
    }
    let owner = subject.owner();
    match sessions.open(subject.clone(), pidfd) {
        Ok((session, instead)) => {
            if let Some(other) = instead {
                end_session(sessions, reports, reactor, other);
            }
            let opened = sessions.get(session);
            let watched = opened.is_some_and(|opened| {
                let token = Token::Peer(session);
                reactor.add(opened.pidfd(), token, Interest::Read).is_ok()
            });
            if !watched {
                // Unwatched, a session would outlive its process, and another process could hold the socket.
                close_session(sessions, reactor, session);
                return;
            }
            let message = ToBroker::Session { session, owner };
            reports.tell_with(&message, &[stream.as_fd()]);
        }
        Err(refusal) => {
            reports.record_refusal(Some(&subject), None, &refusal, None);
            say_goodbye(&stream, refusal);
        }
    }
}

/// Ends a session. It counts until the broker reports that its socket is closed.
pub fn end_session(
    sessions: &mut Sessions,
    reports: &mut Reports,
    reactor: &Reactor,
    session: u64,
) {
    if let Some(ended) = sessions.end(session) {
        reactor.remove(ended.pidfd());
    }
    reports.tell(&ToBroker::SessionGone { session });
}

/// Removes a session whose socket is closed. Its jobs continue.
pub fn close_session(sessions: &mut Sessions, reactor: &Reactor, session: u64) {
    if let Some(closed) = sessions.close(session) {
        reactor.remove(closed.pidfd());
    }
}

/// Refuses a connection. The buffer of a new socket takes one frame. Otherwise it is closed without a message.
pub fn say_goodbye(stream: &ForeignSocket, refusal: Refusal) {
    if let Ok(bytes) = frame::encode(&Goodbye::new(refusal), caps::ADMIN_FRAME) {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let _ = send(stream.as_raw_fd(), &bytes, flags);
    }
}
