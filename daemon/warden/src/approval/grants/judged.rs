//! Judges whether a grant ends because an account is not what it was; otherwise updates the groups of a giver.

use remit_common::admin::Grantee;
use remit_policy::{Glob, NotGivable, Policy, PreApproval, Recipient};

use super::{Grants, TemporaryGrant, table};
use crate::approval::still_administers;
use crate::identity::accounts::{AccountState, People, Question};

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
    pub(super) fn ends(
        &mut self,
        people: &People,
        admin_group: u32,
        policy: &Policy,
    ) -> Option<String> {
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
                | NotGivable::NoCommit
                | NotGivable::OneOff
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
            paths: &table::paths(&self.new),
        })
    }
}
