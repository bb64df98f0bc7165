//! Connections whose account has to be looked up before anything is done for them.
//!
//! An account is a uid and a name. Those of /etc/passwd are known at once; those of a directory service are
//! asked for by a child, and the connection waits here. Nothing is read from it meanwhile.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_link::ForeignSocket;

use crate::accounts::nameless;
use crate::admin;
use crate::clients;
use crate::lookups::Then;
use crate::peer::{Nameless, NoSubject, Subject};
use crate::people::{People, Question};
use crate::warden::Warden;

/// Connections that wait for a name: as many as there can be sessions.
const MOST: usize = caps::SESSIONS + caps::SESSION_USERS;
/// Uids that are looked up at a time. Other look-ups, for people and grants, need room beside them.
const AT_ONCE: usize = 16;

/// At which socket somebody came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// remit.sock
    Client,
    /// admin.sock
    Admin,
}

impl Door {
    /// Says why a connection is refused before it has asked anything.
    fn refuse(self, stream: &ForeignSocket, refusal: Refusal) {
        match self {
            Self::Client => clients::say_goodbye(stream, refusal),
            Self::Admin => admin::refuse(stream, refusal),
        }
    }
}

/// Somebody who has been identified, and whose account is looked up.
#[derive(Debug)]
pub struct Arrival {
    door: Door,
    stream: ForeignSocket,
    who: Nameless,
    pidfd: OwnedFd,
}

/// All of them, in the order in which they came, and the uids that are looked up now.
#[derive(Debug, Default)]
pub struct Arrivals {
    waiting: Vec<Arrival>,
    asked: BTreeSet<u32>,
}

impl Arrivals {
    /// Whether another connection of this uid may wait.
    fn has_room(&self, uid: u32) -> bool {
        let own = self.waiting.iter().filter(|one| one.who.uid() == uid);
        // Beyond the sessions that a user may have, so that the refusal names that bound.
        own.count() < 2 * caps::SESSIONS_PER_UID && self.waiting.len() < MOST
    }

    /// The uid to look up next, if one may be.
    fn next(&self) -> Option<u32> {
        let mut uids = self.waiting.iter().map(|one| one.who.uid());
        let next = uids.find(|uid| !self.asked.contains(uid))?;
        (self.asked.len() < AT_ONCE).then_some(next)
    }

    /// Takes out all of a uid.
    fn take(&mut self, uid: u32) -> Vec<Arrival> {
        self.asked.remove(&uid);
        let own = |arrival: &mut Arrival| arrival.who.uid() == uid;
        self.waiting.extract_if(.., own).collect()
    }
}

impl Warden {
    /// Lets in who was identified, at once where the account is known.
    pub fn arrive(
        &mut self,
        door: Door,
        stream: ForeignSocket,
        peer: Result<(Nameless, OwnedFd), NoSubject>,
    ) {
        let (who, pidfd) = match peer {
            Ok(peer) => peer,
            Err(none) => return self.turn_away(door, &none),
        };
        let uid = who.uid();
        if let Some(name) = self.names.name(uid) {
            return self.let_in(door, stream, who.named(name), pidfd);
        }
        if !self.arrivals.has_room(uid) {
            let text = "too many connections wait for their accounts to be looked up";
            let refusal = Refusal::new(Code::Busy, text).next("connect again in a moment");
            let subject = who.named(nameless(uid));
            self.record_refusal(Some(&subject), None, &refusal, None);
            return door.refuse(&stream, refusal);
        }
        self.arrivals.waiting.push(Arrival {
            door,
            stream,
            who,
            pidfd,
        });
        self.ask_for_names();
    }

    /// Begins to look up uids that wait, as many as may be at a time.
    fn ask_for_names(&mut self) {
        while let Some(uid) = self.arrivals.next() {
            let mut question = Question::default();
            question.account(uid, &nameless(uid));
            match self.look_up(&question, Then::Name(uid)) {
                Ok(()) => {
                    self.arrivals.asked.insert(uid);
                }
                // Those under way go on with the others when they end.
                Err(_) if !self.arrivals.asked.is_empty() => return,
                Err(refusal) => self.close_arrivals(uid, &refusal),
            }
        }
    }

    /// Closes the connections of a uid whose name is not known; each is recorded.
    fn close_arrivals(&mut self, uid: u32, refusal: &Refusal) {
        for arrival in self.arrivals.take(uid) {
            let subject = arrival.who.named(nameless(uid));
            self.record_refusal(Some(&subject), None, refusal, None);
            arrival.door.refuse(&arrival.stream, refusal.clone());
        }
    }

    /// A uid was looked up: those who wait for its name are let in.
    pub fn name_looked_up(&mut self, uid: u32, people: Result<People, String>) {
        let found = people.and_then(|people| {
            let name = people.names().find(|(of, _)| *of == uid);
            let name = name.map(|(_, name)| name.map(str::to_owned));
            name.ok_or_else(|| format!("the account of uid {uid} cannot be looked up"))
        });
        match found {
            Ok(name) => {
                self.names.learn(uid, name.as_deref());
                let name = name.unwrap_or_else(|| nameless(uid));
                for arrival in self.arrivals.take(uid) {
                    let subject = arrival.who.named(name.clone());
                    self.let_in(arrival.door, arrival.stream, subject, arrival.pidfd);
                }
            }
            Err(why) => {
                let text = format!("a connection was closed: {why}");
                self.close_arrivals(uid, &Refusal::new(Code::DaemonUnavailable, text));
            }
        }
        self.ask_for_names();
    }

    fn let_in(&mut self, door: Door, stream: ForeignSocket, subject: Subject, pidfd: OwnedFd) {
        if self.policy.knows(subject.uid(), subject.user()).is_err() {
            // Its number was somebody else's when the policy was loaded: it is asked again who they are.
            self.reload_for(&subject);
        }
        match door {
            Door::Client => self.let_client_in(stream, subject, pidfd),
            Door::Admin => self.let_admin_in(stream, subject, pidfd),
        }
    }

    /// Records that a connection was closed; of whom, as far as the kernel tells.
    fn turn_away(&mut self, door: Door, none: &NoSubject) {
        let which = match door {
            Door::Client => "a connection",
            Door::Admin => "a connection to admin.sock",
        };
        let refusal = Refusal::new(Code::DeniedRule, format!("{which} was closed: {none}"));
        let subject = none.uid.map(|uid| {
            let name = self.names.name(uid).unwrap_or_else(|| nameless(uid));
            Subject::gone(uid, name)
        });
        self.record_refusal(subject.as_ref(), None, &refusal, None);
    }
}
