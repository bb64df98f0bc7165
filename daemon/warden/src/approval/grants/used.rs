//! Requests that a temporary grant covers: requester and giver are looked up before a use is taken.

use std::rc::Rc;

use remit_common::refusal::{Code, Refusal};
use remit_policy::Lifted;

use crate::identity::accounts::{People, Question};
use crate::identity::lookups::LookUpPurpose;
use crate::job::pipeline::{self, Outcome, RefusedRequest};
use crate::request::{Call, Requester};
use crate::state::Warden;

#[derive(Debug)]
pub struct GrantUse {
    pub requester: Requester,
    pub call: Call,
}

impl Warden {
    fn look_up_use(
        &mut self,
        requester: Requester,
        call: Call,
        grant: u64,
    ) -> Result<Outcome, Refusal> {
        let mut question = Question::of([&requester.subject]);
        self.grants.ask_about_one(grant, &mut question);
        self.look_up(
            &question,
            LookUpPurpose::GrantUse(Box::new(GrantUse { requester, call })),
        )?;
        Ok(Outcome::Parked)
    }

    /// Decides the request again, by the accounts that were found.
    pub fn on_use_looked_up(&mut self, used: GrantUse, people: Result<People, String>) {
        let (session, ticket) = (used.requester.session, used.requester.ticket);
        let asked = Rc::new(self.asked(&used.call));
        let reply = self.used(used, people).map_err(|refusal| RefusedRequest {
            refusal,
            asked: Some(asked),
        });
        self.reply(session, ticket, reply);
    }

    fn used(&mut self, used: GrantUse, people: Result<People, String>) -> Result<Outcome, Refusal> {
        let GrantUse { requester, call } = used;
        self.check_open()?;
        self.subject(requester.session)?;
        let people = people.map_err(|why| Refusal::new(Code::NotStarted, why).next("ask again"))?;
        let mut named = self.policy.policy.groups_named().clone();
        named.extend(self.grants.groups());
        if let Some(why) = people.has_lost(&requester.subject, &named) {
            return Err(Refusal::new(Code::DeniedRule, why));
        }
        self.judge_grants(&people);
        pipeline::decide_request(self, requester, call, Some(&people))
    }

    /// Takes a use and runs the request. Looks the giver up first, if that was not done yet.
    pub fn run_lifted(
        &mut self,
        requester: Requester,
        call: Call,
        lifted: Lifted,
        people: Option<&People>,
    ) -> Result<Outcome, Refusal> {
        let found = people.and_then(|people| self.grants.giver_found(lifted.grant(), people));
        match found {
            Some(Ok(())) => pipeline::start_lifted(self, requester, call, lifted),
            Some(Err(why)) => Err(Refusal::new(Code::NotStarted, why).next("ask again")),
            None => self.look_up_use(requester, call, lifted.grant()),
        }
    }

    /// Drops these requests: their clients are gone, and their tickets belong to the dead broker.
    pub fn drop_uses(&mut self) {
        for used in self.take_uses() {
            let text = "the broker died while the request was examined";
            let refusal = Refusal::new(Code::DaemonUnavailable, text);
            let asked = self.asked(&used.call);
            let requester = &used.requester;
            let (subject, session) = (requester.subject.clone(), requester.session);
            self.record_refusal(Some(&subject), Some(session), &refusal, Some(&asked));
        }
    }
}
