//! Holds connections until their account is known. A child looks up accounts of a directory service. Nothing is read
//! from the connection meanwhile.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_link::ForeignSocket;

use crate::admin;
use crate::identity::accounts::{People, Question};
use crate::identity::clients;
use crate::identity::lookups::LookUpPurpose;
use crate::identity::peer::{Nameless, NoSubject, Subject};
use crate::identity::user_names::nameless;
use crate::state::Warden;

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
            Self::Client => clients::say_goodbye(stream, refusal),
            Self::Admin => admin::refuse(stream, refusal),
        }
    }
}

#[derive(Debug)]
pub struct Arrival {
    door: Door,
    stream: ForeignSocket,
    caller: Nameless,
    pidfd: OwnedFd,
}

#[derive(Debug, Default)]
pub struct Arrivals {
    waiting: Vec<Arrival>,
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

    fn take(&mut self, uid: u32) -> Vec<Arrival> {
        self.asked.remove(&uid);
        let own = |arrival: &mut Arrival| arrival.caller.uid() == uid;
        self.waiting.extract_if(.., own).collect()
    }
}

impl Warden {
    pub fn arrive(
        &mut self,
        door: Door,
        stream: ForeignSocket,
        peer: Result<(Nameless, OwnedFd), NoSubject>,
    ) {
        let (caller, pidfd) = match peer {
            Ok(peer) => peer,
            Err(none) => return self.turn_away(door, &none),
        };
        let uid = caller.uid();
        if let Some(name) = self.names.name(uid) {
            return self.let_in(door, stream, caller.named(name), pidfd);
        }
        if !self.arrivals.has_capacity(uid) {
            let text = "too many connections are waiting for their accounts to be looked up";
            let refusal = Refusal::new(Code::Busy, text).next("connect again in a moment");
            let subject = caller.named(nameless(uid));
            self.record_refusal(Some(&subject), None, &refusal, None);
            return door.refuse(&stream, refusal);
        }
        self.arrivals.waiting.push(Arrival {
            door,
            stream,
            caller,
            pidfd,
        });
        self.ask_for_names();
    }

    fn ask_for_names(&mut self) {
        while let Some(uid) = self.arrivals.next() {
            let mut question = Question::default();
            question.account(uid, &nameless(uid));
            match self.look_up(&question, LookUpPurpose::Name(uid)) {
                Ok(()) => {
                    self.arrivals.asked.insert(uid);
                }
                // The look-ups that still run continue with this uid when they end.
                Err(_) if !self.arrivals.asked.is_empty() => return,
                Err(refusal) => self.close_arrivals(uid, &refusal),
            }
        }
    }

    /// Refuses and records all connections of a uid whose name is not known.
    fn close_arrivals(&mut self, uid: u32, refusal: &Refusal) {
        for arrival in self.arrivals.take(uid) {
            let subject = arrival.caller.named(nameless(uid));
            self.record_refusal(Some(&subject), None, refusal, None);
            arrival.door.refuse(&arrival.stream, refusal.clone());
        }
    }

    pub fn on_name_looked_up(&mut self, uid: u32, people: Result<People, String>) {
        let found = people.and_then(|people| {
            let name = people.names().find(|(of, _)| *of == uid);
            let name = name.map(|(_, name)| name.map(str::to_owned));
            name.ok_or_else(|| format!("cannot look up the account of uid {uid}"))
        });
        match found {
            Ok(name) => {
                self.names.learn(uid, name.as_deref());
                let name = name.unwrap_or_else(|| nameless(uid));
                for arrival in self.arrivals.take(uid) {
                    let subject = arrival.caller.named(name.clone());
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
        if let Err(refusal) = self.check_account(&subject) {
            self.record_refusal(Some(&subject), None, &refusal, None);
            return door.refuse(&stream, refusal);
        }
        if self.policy.knows(subject.uid(), subject.user()).is_err() {
            // This uid had another name when the policy was loaded, so the names are looked up again.
            self.reload_for(&subject);
        }
        match door {
            Door::Client => self.let_client_in(stream, subject, pidfd),
            Door::Admin => self.let_admin_in(stream, subject, pidfd),
        }
    }

    /// Refuses a uid without an account, unless something names it by its number. A process can change to one of its
    /// user's subordinate uids (newuidmap(1), or a service that provides them). There are thousands, and each would
    /// be a new user for denials and for all bounds of one user.
    fn check_account(&self, subject: &Subject) -> Result<(), Refusal> {
        let uid = subject.uid();
        let is_named =
            || self.config.accounts.numbers.contains(&uid) || self.policy.policy.names_number(uid);
        if uid == 0 || subject.user() != nameless(uid) || is_named() {
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
