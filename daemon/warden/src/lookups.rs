//! People who are looked up while the loop turns: by forked children, since a directory service may let one wait.
//!
//! The loop never waits for an answer. What goes on with it is kept here meanwhile, within bounds.

use std::collections::BTreeMap;
use std::time::Duration;

use remit_common::refusal::{Code, Refusal};
use remit_confine::{Answer, in_child};

use crate::admin::Giving;
use crate::clock::Timer;
use crate::error::chain;
use crate::grants::Use;
use crate::people::{People, Question};
use crate::reactor::{Interest, Token};
use crate::warden::Warden;

/// For a look-up to end. Then its child is ended.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Look-ups at a time.
const MOST: usize = 32;

/// What goes on with the answer.
#[derive(Debug)]
pub enum Then {
    /// Connections of this uid get a name.
    Name(u32),
    /// A request that a grant for a time covers.
    Use(Box<Use>),
    /// A grant for a time that somebody gives.
    Give(Box<Giving>),
}

#[derive(Debug)]
struct LookUp {
    answer: Answer,
    then: Then,
}

/// All look-ups under way.
#[derive(Debug, Default)]
pub struct LookUps {
    next: u64,
    live: BTreeMap<u64, LookUp>,
}

impl LookUps {
    /// Whether the same request of a user is looked at.
    pub fn has_request(&self, uid: u32, id: &str) -> bool {
        self.live.values().any(|one| match &one.then {
            Then::Use(used) => {
                let same = used.call.request().is_some_and(|(own, _)| own == id);
                used.requester.subject.uid() == uid && same
            }
            Then::Name(_) | Then::Give(_) => false,
        })
    }
}

impl Warden {
    /// Begins to look somebody up.
    ///
    /// # Errors
    /// Too many are looked up, or the child cannot be forked.
    pub fn look_up(&mut self, question: &Question, then: Then) -> Result<(), Refusal> {
        let cannot = |why: String| {
            let text = format!("accounts cannot be looked up: {why}");
            Refusal::new(Code::NotStarted, text).next("try again in a moment")
        };
        if self.lookups.live.len() >= MOST {
            let text = format!("{MOST} accounts are being looked up, more are not allowed");
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

    /// A child that looks up got on.
    pub fn look_up_read(&mut self, serial: u64) {
        let Some(one) = self.lookups.live.get_mut(&serial) else {
            return;
        };
        let people = match one.answer.read() {
            Ok(None) => return,
            Ok(Some(bytes)) => postcard::from_bytes(&bytes)
                .map_err(|_| "the child that looks up accounts died".to_owned()),
            Err(error) => Err(chain(&error)),
        };
        self.looked_up(serial, people);
    }

    /// A child that looks up has had its time.
    pub fn look_up_late(&mut self, serial: u64) {
        let seconds = PATIENCE.as_secs();
        let why = format!(
            "accounts were not looked up in {seconds} s: a directory service does not answer"
        );
        self.looked_up(serial, Err(why));
    }

    fn looked_up(&mut self, serial: u64, people: Result<People, String>) {
        self.timers.cancel(Timer::LookUp(serial));
        let Some(LookUp { answer, then }) = self.lookups.live.remove(&serial) else {
            return;
        };
        self.reactor.remove(answer.fd());
        drop(answer);
        match then {
            Then::Name(uid) => self.name_looked_up(uid, people),
            Then::Use(used) => self.use_looked_up(*used, people),
            Then::Give(giving) => self.give_looked_up(*giving, people),
        }
    }

    /// Takes out the requests that are looked at.
    pub fn take_uses(&mut self) -> Vec<Use> {
        let is_use = |_: &u64, one: &mut LookUp| matches!(one.then, Then::Use(_));
        let taken: Vec<(u64, LookUp)> = self.lookups.live.extract_if(.., is_use).collect();
        let mut uses = Vec::new();
        for (serial, LookUp { answer, then }) in taken {
            self.timers.cancel(Timer::LookUp(serial));
            self.reactor.remove(answer.fd());
            if let Then::Use(used) = then {
                uses.push(*used);
            }
        }
        uses
    }
}
