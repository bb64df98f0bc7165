//! Ends grants because an account is not what it was. Otherwise changes only the current groups of a giver.

use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use remit_common::admin::Grantee;
use remit_policy::{Glob, NotGivable, Policy, PreApproval, Recipient};
use remit_sys::in_child;

use super::{Grants, TemporaryGrant, described, in_words};
use crate::approval::grants::two_clock_expiry::Moment;
use crate::approval::still_administers;
use crate::audit::{Event, Record};
use crate::identity::accounts::{AccountState, People, Question};
use crate::identity::lookups::PATIENCE;
use crate::state::Warden;

impl Grants {
    pub fn ask_about(&self, question: &mut Question) {
        for granted in &self.table.grants {
            granted.ask_about(question);
        }
    }

    pub fn ask_about_one(&self, number: u64, question: &mut Question) {
        if let Some(granted) = self.table.get(number) {
            granted.ask_about(question);
        }
    }

    /// Returns `None` if nobody looked the giver up. Fails if the user database did not answer.
    pub fn giver_found(&self, number: u64, people: &People) -> Option<Result<(), String>> {
        let giver = &self.table.get(number)?.giver;
        Some(match people.account(giver.uid, &giver.name)? {
            AccountState::Is(_) | AccountState::NoAccount => Ok(()),
            AccountState::Unknown(why) => {
                let name = &giver.name;
                Err(format!("cannot look up the account of {name}: {why}"))
            }
        })
    }
}

impl TemporaryGrant {
    fn ask_about(&self, question: &mut Question) {
        question.account(self.giver.uid, &self.giver.name);
        match &self.new.to {
            Grantee::User { name, uid } => question.account(*uid, name),
            Grantee::Group { gid, .. } => drop(question.gids.insert(*gid)),
        }
    }

    /// Updates the giver's groups. Without an answer from the user database the grant stays, but no use starts.
    fn ends(&mut self, people: &People, admin_group: u32, policy: &Policy) -> Option<String> {
        if self.covered.as_ref().is_some_and(Vec::is_empty) {
            return Some("all commands that it covered have changed since".into());
        }
        if let Some(why) = self.recipient_is_other(people) {
            return Some(why);
        }
        let (uid, name) = (self.giver.uid, self.giver.name.clone());
        match people.account(uid, &name)? {
            AccountState::Unknown(_) => return None,
            AccountState::Is(_) | AccountState::NoAccount => {}
        }
        let why = |why: String| Some(format!("its giver can no longer approve: {why}"));
        match still_administers(uid, &name, people, admin_group) {
            Ok(gids) => self.giver.gids = gids.to_vec(),
            Err(lost) => return why(lost),
        }
        match self.check_still_grantable(policy) {
            Err(NotGivable::NotApprover(_)) => {
                why(format!("no rule lets {name} approve what it covers"))
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
        let unknown = |uid: u32, name: &str| {
            matches!(people.account(uid, name), Some(AccountState::Unknown(_)))
        };
        match &self.new.to {
            Grantee::User { name, uid } if unknown(*uid, name) => None,
            Grantee::User { name, uid } => people.is_other(*uid, name),
            Grantee::Group { name, gid } => match people.group_name(*gid) {
                Ok(_) => people.is_other_group(*gid, name),
                Err(_) => None,
            },
        }
    }

    fn check_still_grantable(&self, policy: &Policy) -> Result<(), NotGivable> {
        let what = Glob::parse(&self.new.what).ok_or(NotGivable::NoCommand)?;
        policy.may_give(&PreApproval {
            by: self.giver.caller_ids(),
            to: match self.new.to {
                Grantee::User { uid, .. } => Recipient::User(uid),
                Grantee::Group { gid, .. } => Recipient::Group(gid),
            },
            what: &what,
            args: &self.new.args,
        })
    }
}

impl Warden {
    /// A new policy adds no command to a grant, and removes those that changed.
    pub fn bind_grants(&mut self) {
        self.grants.table.bind(&self.policy.policy);
    }

    pub fn judge_grants(&mut self, people: &People) {
        let (group, policy) = (self.admins.group(), &self.policy.policy);
        let mut table = self.grants.table.clone();
        let ended = table.judge(|granted| granted.ends(people, group, policy));
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
            say!("cannot save the end of a grant: {error}");
        }
        for (granted, why) in ended {
            let message = format!(
                "grant {} ends: {}: {why}",
                granted.number,
                in_words(&granted.new)
            );
            let record = described(Record::new(Event::Revoked, message), &granted);
            self.audit.note(record.field("CAUSE", &why));
            self.void_jobs_of_grant(granted.number, &why);
        }
        self.end_grants();
    }

    /// Blocks, because at start no client is served yet.
    pub fn judge_grants_at_start(&mut self) {
        let mut question = Question::default();
        self.grants.ask_about(&mut question);
        if question == Question::default() {
            return;
        }
        match now(&question) {
            Some(people) => self.judge_grants(&people),
            None => say!("the givers of temporary grants cannot be looked up: each use is"),
        }
    }
}

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
