//! Which grants end because somebody is not who they were.
//!
//! It changes no grant but by ending it and by keeping the groups of its giver as they are now.

use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use remit_common::admin::Whom;
use remit_confine::in_child;
use remit_policy::{Beforehand, Glob, NotGivable, Policy, Recipient};

use super::moment::Moment;
use super::{Given, Grants, described, in_words};
use crate::approval::still_administers;
use crate::audit::{Event, Record};
use crate::lookups::PATIENCE;
use crate::people::{Account, People, Question};
use crate::warden::Warden;

impl Grants {
    /// Adds those who gave one or got one.
    pub fn ask_about(&self, question: &mut Question) {
        for given in &self.table.grants {
            given.ask_about(question);
        }
    }

    /// Those who gave one or got one, of one grant.
    pub fn ask_about_one(&self, number: u64, question: &mut Question) {
        if let Some(given) = self.table.get(number) {
            given.ask_about(question);
        }
    }

    /// Whether the giver of one of them was looked up; `None` where nobody asked.
    ///
    /// # Errors
    /// The user database did not answer.
    pub fn giver_found(&self, number: u64, people: &People) -> Option<Result<(), String>> {
        let giver = &self.table.get(number)?.giver;
        Some(match people.account(giver.uid, &giver.name)? {
            Account::Is(_) | Account::Nobody => Ok(()),
            Account::Unknown(why) => {
                let name = &giver.name;
                Err(format!("the account of {name} cannot be looked up: {why}"))
            }
        })
    }
}

impl Given {
    fn ask_about(&self, question: &mut Question) {
        question.account(self.giver.uid, &self.giver.name);
        match &self.new.to {
            Whom::User { name, uid } => question.account(*uid, name),
            Whom::Group { gid, .. } => drop(question.gids.insert(*gid)),
        }
    }

    /// Why it ends, by what the user database says; the groups of its giver are as they are now. Where the
    /// database does not answer, it stays: nothing is started by it without an answer.
    fn ends(&mut self, people: &People, admin_group: u32, policy: &Policy) -> Option<String> {
        if let Some(why) = self.recipient_is_other(people) {
            return Some(why);
        }
        let (uid, name) = (self.giver.uid, self.giver.name.clone());
        match people.account(uid, &name)? {
            Account::Unknown(_) => return None,
            Account::Is(_) | Account::Nobody => {}
        }
        let why = |why: String| Some(format!("its giver can no longer approve: {why}"));
        match still_administers(uid, &name, people, admin_group) {
            Ok(gids) => self.giver.gids = gids.to_vec(),
            Err(lost) => return why(lost),
        }
        match self.would_be_given(policy) {
            Err(NotGivable::NotApprover(_)) => {
                why(format!("no rule names {name} for what it is about"))
            }
            Ok(())
            | Err(
                NotGivable::NoCommand
                | NotGivable::NoArgument(_)
                | NotGivable::Unconfined
                | NotGivable::Unasked,
            ) => None,
        }
    }

    fn recipient_is_other(&self, people: &People) -> Option<String> {
        let unknown =
            |uid: u32, name: &str| matches!(people.account(uid, name), Some(Account::Unknown(_)));
        match &self.new.to {
            Whom::User { name, uid } if unknown(*uid, name) => None,
            Whom::User { name, uid } => people.is_other(*uid, name),
            Whom::Group { name, gid } => match people.group_name(*gid) {
                Ok(_) => people.is_other_group(*gid, name),
                Err(_) => None,
            },
        }
    }

    fn would_be_given(&self, policy: &Policy) -> Result<(), NotGivable> {
        let what = Glob::parse(&self.new.what).ok_or(NotGivable::NoCommand)?;
        policy.may_give(&Beforehand {
            by: self.giver.who(),
            to: match self.new.to {
                Whom::User { uid, .. } => Recipient::User(uid),
                Whom::Group { gid, .. } => Recipient::Group(gid),
            },
            what: &what,
            args: &self.new.args,
        })
    }
}

impl Warden {
    /// Ends the grants of those who are not who they were, and those to them.
    pub fn judge_grants(&mut self, people: &People) {
        let (group, policy) = (self.admins.group(), &self.policy.policy);
        let mut table = self.grants.table.clone();
        let ended = table.judge(|given| given.ends(people, group, policy));
        if table == self.grants.table {
            return;
        }
        self.grants.table = table;
        if !ended.is_empty()
            && let Err(error) = self
                .grants
                .save(Moment::now())
                .or_else(|_| self.grants.store.remove())
        {
            say!("the end of a grant is not saved: {error}");
        }
        for (given, why) in ended {
            let message = format!(
                "grant {} ends: {}: {why}",
                given.number,
                in_words(&given.new)
            );
            let record = described(Record::new(Event::Revoked, message), &given);
            self.audit.note(record.field("CAUSE", &why));
            self.void_given(given.number, &why);
        }
        self.end_grants();
    }

    /// The same at the start, where nobody has been asked yet: before anybody is served it may wait.
    pub fn judge_grants_at_start(&mut self) {
        let mut question = Question::default();
        self.grants.ask_about(&mut question);
        if question == Question::default() {
            return;
        }
        match now(&question) {
            Some(people) => self.judge_grants(&people),
            None => say!("those who gave grants for a time cannot be looked up: each use is"),
        }
    }
}

/// Looks people up by a child, and waits for it.
fn now(question: &Question) -> Option<People> {
    let mut answer = in_child(|| {
        let people = People::look_up(question);
        postcard::to_extend(&people, Vec::new()).unwrap_or_default()
    })
    .ok()?;
    let end = Instant::now() + PATIENCE;
    loop {
        match answer.read() {
            Ok(Some(bytes)) => return postcard::from_bytes(&bytes).ok(),
            Ok(None) => {}
            Err(_) => return None,
        }
        let left = end.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        if let Ok(0) = poll(&mut [PollFd::new(answer.fd(), PollFlags::POLLIN)], left) {
            return None;
        }
    }
}
