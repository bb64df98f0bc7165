//! Connections whose account has to be looked up before anything is done for them.
//!
//! An account is a uid and a name. Those of /etc/passwd are known at once; those of a directory service are
//! asked for by a child, and the connection waits here. Nothing is read from it meanwhile.

use std::os::fd::OwnedFd;

use remit_common::refusal::{Code, Refusal};
use remit_link::ForeignSocket;

use crate::accounts::nameless;
use crate::lookups::Then;
use crate::peer::{Nameless, NoSubject, Subject};
use crate::people::{People, Question};
use crate::warden::Warden;

/// Connections that wait for a name, in all and of one uid.
const MOST: usize = 64;
const PER_UID: usize = 8;

/// At which socket somebody came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// remit.sock
    Client,
    /// admin.sock
    Admin,
}

/// Somebody who has been identified, and whose account is looked up.
#[derive(Debug)]
pub struct Arrival {
    door: Door,
    stream: ForeignSocket,
    who: Nameless,
    pidfd: OwnedFd,
}

/// All of them, in the order in which they came.
#[derive(Debug, Default)]
pub struct Arrivals(Vec<Arrival>);

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
        let of_uid = |arrival: &&Arrival| arrival.who.uid() == uid;
        let own = self.arrivals.0.iter().filter(of_uid).count();
        let room = match own {
            0 => {
                let mut question = Question::default();
                question.account(uid, &nameless(uid));
                self.look_up(&question, Then::Name(uid))
            }
            _ => Ok(()),
        };
        let full = own >= PER_UID || self.arrivals.0.len() >= MOST;
        let room = room.and_then(|()| match full {
            false => Ok(()),
            true => {
                let text = "too many connections wait for their accounts to be looked up";
                Err(Refusal::new(Code::Busy, text).next("connect again in a moment"))
            }
        });
        match room {
            Ok(()) => self.arrivals.0.push(Arrival {
                door,
                stream,
                who,
                pidfd,
            }),
            Err(refusal) => {
                let subject = who.named(nameless(uid));
                self.record_refusal(Some(&subject), None, &refusal, None);
            }
        }
    }

    /// A uid was looked up: those who wait for its name are let in.
    pub fn name_looked_up(&mut self, uid: u32, people: Result<People, String>) {
        let found = people.and_then(|people| {
            let name = people.names().find(|(of, _)| *of == uid);
            let name = name.map(|(_, name)| name.map(str::to_owned));
            name.ok_or_else(|| format!("the account of uid {uid} cannot be looked up"))
        });
        let own = |arrival: &mut Arrival| arrival.who.uid() == uid;
        let arrivals: Vec<Arrival> = self.arrivals.0.extract_if(.., own).collect();
        if let Ok(name) = &found {
            self.names.learn(uid, name.as_deref());
        }
        for arrival in arrivals {
            let Arrival {
                door,
                stream,
                who,
                pidfd,
            } = arrival;
            match &found {
                Ok(name) => {
                    let name = name.clone().unwrap_or_else(|| nameless(uid));
                    self.let_in(door, stream, who.named(name), pidfd);
                }
                Err(why) => {
                    let text = format!("a connection was closed: {why}");
                    let refusal = Refusal::new(Code::DaemonUnavailable, text);
                    let subject = who.named(nameless(uid));
                    self.record_refusal(Some(&subject), None, &refusal, None);
                }
            }
        }
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
