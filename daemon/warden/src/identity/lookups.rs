//! Looks up accounts in forked children, because a directory service may block. The loop never waits for an answer.
//! The pending actions are kept here, within bounds.

use std::collections::BTreeMap;
use std::time::Duration;

use remit_common::refusal::{Code, Refusal};
use remit_sys::{Answer, in_child};

use crate::admin::Giving;
use crate::approval::grants::GrantUse;
use crate::event_loop::epoll::{Interest, Token};
use crate::event_loop::timers::Timer;
use crate::identity::accounts::{People, Question};
use crate::startup::error::chain;
use crate::state::Warden;

/// Timeout of a look-up. Its child is then ended.
pub const PATIENCE: Duration = Duration::from_secs(10);
const MOST: usize = 32;
/// Additional look-ups for administrators' requests, so other users cannot block them.
const SERVES: usize = 16;

#[derive(Debug)]
pub enum LookUpPurpose {
    /// Name the connections of this uid.
    Name(u32),
    GrantUse(Box<GrantUse>),
    Give(Box<Giving>),
    /// Serve the requests of this administrator.
    Serve(u32, String),
}

#[derive(Debug)]
struct LookUp {
    answer: Answer,
    then: LookUpPurpose,
}

#[derive(Debug, Default)]
pub struct LookUps {
    next: u64,
    live: BTreeMap<u64, LookUp>,
}

impl LookUps {
    pub fn has_request(&self, uid: u32, id: &str) -> bool {
        self.live.values().any(|one| match &one.then {
            LookUpPurpose::GrantUse(used) => {
                let same = used.call.request().is_some_and(|(own, _)| own == id);
                used.requester.subject.uid() == uid && same
            }
            LookUpPurpose::Name(_) | LookUpPurpose::Give(_) | LookUpPurpose::Serve(..) => false,
        })
    }
}

impl Warden {
    /// Starts a look-up. Fails if too many run, or the child cannot be forked.
    pub fn look_up(&mut self, question: &Question, then: LookUpPurpose) -> Result<(), Refusal> {
        let cannot = |why: String| {
            let text = format!("cannot look up accounts: {why}");
            Refusal::new(Code::NotStarted, text).next("try again in a moment")
        };
        let most = match then {
            LookUpPurpose::Serve(..) => MOST + SERVES,
            LookUpPurpose::Name(_) | LookUpPurpose::GrantUse(_) | LookUpPurpose::Give(_) => MOST,
        };
        if self.lookups.live.len() >= most {
            let text = format!("{most} accounts are being looked up, the maximum");
            return Err(Refusal::new(Code::Busy, text).next("try again in a moment"));
        }
        let answer = in_child(|| {
            let people = People::look_up(question);
            postcard::to_extend(&people, Vec::new()).unwrap_or_default()
        });
        let answer = answer.map_err(|error| cannot(chain(&error)))?;
        self.lookups.next += 1;
        let serial = self.lookups.next;
        self.reactor
            .add(answer.fd(), Token::LookUp(serial), Interest::Read)
            .map_err(|error| cannot(error.to_string()))?;
        self.timers.add(PATIENCE, Timer::LookUp(serial));
        self.lookups.live.insert(serial, LookUp { answer, then });
        Ok(())
    }

    pub fn on_look_up_readable(&mut self, serial: u64) {
        let Some(one) = self.lookups.live.get_mut(&serial) else {
            return;
        };
        let people = match one.answer.read() {
            Ok(None) => return,
            Ok(Some(bytes)) => postcard::from_bytes(&bytes)
                .map_err(|_| "the child that looks up accounts died".to_owned()),
            Err(error) => Err(chain(&error)),
        };
        self.on_looked_up(serial, people);
    }

    pub fn on_look_up_timeout(&mut self, serial: u64) {
        let seconds = PATIENCE.as_secs();
        let why = format!(
            "accounts were not looked up in {seconds} s: a directory service does not respond"
        );
        self.on_looked_up(serial, Err(why));
    }

    fn on_looked_up(&mut self, serial: u64, people: Result<People, String>) {
        self.timers.cancel(Timer::LookUp(serial));
        let Some(LookUp { answer, then }) = self.lookups.live.remove(&serial) else {
            return;
        };
        self.reactor.remove(answer.fd());
        drop(answer);
        match then {
            LookUpPurpose::Name(uid) => self.on_name_looked_up(uid, people),
            LookUpPurpose::GrantUse(used) => self.on_use_looked_up(*used, people),
            LookUpPurpose::Give(giving) => self.on_give_looked_up(*giving, people),
            LookUpPurpose::Serve(uid, user) => self.on_standing_looked_up(uid, &user, people),
        }
    }

    /// Removes and returns the requests that wait for a look-up.
    pub fn take_uses(&mut self) -> Vec<GrantUse> {
        let is_use = |_: &u64, one: &mut LookUp| matches!(one.then, LookUpPurpose::GrantUse(_));
        let taken: Vec<(u64, LookUp)> = self.lookups.live.extract_if(.., is_use).collect();
        let mut uses = Vec::new();
        for (serial, LookUp { answer, then }) in taken {
            self.timers.cancel(Timer::LookUp(serial));
            self.reactor.remove(answer.fd());
            if let LookUpPurpose::GrantUse(used) = then {
                uses.push(*used);
            }
        }
        uses
    }
}
