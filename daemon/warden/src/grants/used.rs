//! A request that a grant for a time covers: requester and giver are looked up before a use is spent on it.

use std::rc::Rc;

use remit_common::refusal::{Code, Refusal};
use remit_policy::Lifted;

use crate::lookups::Then;
use crate::people::{People, Question};
use crate::pipeline::{self, Refused, Told};
use crate::plan::{Call, Requester};
use crate::warden::Warden;

/// What is looked up for.
#[derive(Debug)]
pub struct Use {
    /// Whose request it is.
    pub requester: Requester,
    /// What is asked.
    pub call: Call,
}

impl Warden {
    /// Looks up who asks and who gave the grant; the request is answered later.
    fn look_up_use(
        &mut self,
        requester: Requester,
        call: Call,
        grant: u64,
    ) -> Result<Told, Refusal> {
        let mut question = Question::of([&requester.subject]);
        self.grants.ask_about_one(grant, &mut question);
        self.look_up(&question, Then::Use(Box::new(Use { requester, call })))?;
        Ok(Told::Parked)
    }

    /// They were looked up: the request is decided once more, by who they are.
    pub fn use_looked_up(&mut self, used: Use, people: Result<People, String>) {
        let (session, ticket) = (used.requester.session, used.requester.ticket);
        let asked = Rc::new(self.asked(&used.call));
        let told = self.used(used, people).map_err(|refusal| Refused {
            refusal,
            asked: Some(asked),
        });
        self.told(session, ticket, told);
    }

    fn used(&mut self, used: Use, people: Result<People, String>) -> Result<Told, Refusal> {
        let Use { requester, call } = used;
        self.open_for_work()?;
        self.subject(requester.session)?;
        let people = people.map_err(|why| Refusal::new(Code::NotStarted, why).next("ask again"))?;
        let mut named = self.policy.policy.groups_named().clone();
        named.extend(self.grants.groups());
        if let Some(why) = people.has_lost(&requester.subject, &named) {
            return Err(Refusal::new(Code::DeniedRule, why));
        }
        self.judge_grants(&people);
        pipeline::decided(self, requester, call, Some(&people))
    }

    /// Spends a use of the grant that lifts a request, and runs it; where its giver was not looked up yet,
    /// that comes first.
    ///
    /// # Errors
    /// As [`pipeline::run`].
    pub fn run_lifted(
        &mut self,
        requester: Requester,
        call: Call,
        lifted: Lifted,
        people: Option<&People>,
    ) -> Result<Told, Refusal> {
        let found = people.and_then(|people| self.grants.giver_found(lifted.grant(), people));
        match found {
            Some(Ok(())) => pipeline::lifted(self, requester, call, lifted),
            Some(Err(why)) => Err(Refusal::new(Code::NotStarted, why).next("ask again")),
            None => self.look_up_use(requester, call, lifted.grant()),
        }
    }

    /// Forgets the requests that are looked up: those who asked are gone, and their tickets are another
    /// broker's.
    pub fn drop_uses(&mut self) {
        for used in self.take_uses() {
            let text = "the broker died while the request was looked at";
            let refusal = Refusal::new(Code::DaemonUnavailable, text);
            let asked = self.asked(&used.call);
            let requester = &used.requester;
            let (subject, session) = (requester.subject.clone(), requester.session);
            self.record_refusal(Some(&subject), Some(session), &refusal, Some(&asked));
        }
    }
}
