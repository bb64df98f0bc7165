//! Accounts as the user database has them at one moment, next to what the kernel reported at connect. An account is a
//! uid and a name: the same uid with another name is another person. A right ends with its account or group.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::identity::peer::Subject;
use crate::identity::user_names::{self, Login, nameless};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    pub accounts: BTreeSet<(u32, String)>,
    pub gids: BTreeSet<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountState {
    Is(Login),
    NoAccount,
    Unknown(String),
}

/// Answers to a [`Question`], all of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct People {
    accounts: BTreeMap<(u32, String), AccountState>,
    groups: BTreeMap<u32, Result<Option<String>, String>>,
}

impl Question {
    pub fn of<'a>(subjects: impl IntoIterator<Item = &'a Subject>) -> Self {
        let mut question = Self::default();
        subjects.into_iter().for_each(|one| question.add(one));
        question
    }

    pub fn add(&mut self, subject: &Subject) {
        self.account(subject.uid(), subject.user());
    }

    pub fn account(&mut self, uid: u32, name: &str) {
        self.accounts.insert((uid, name.to_owned()));
    }
}

impl People {
    /// Asks the user database. May block on a directory service.
    pub fn look_up(question: &Question) -> Self {
        let accounts = question.accounts.iter();
        let groups = question.gids.iter();
        Self {
            accounts: accounts
                .map(|(uid, name)| ((*uid, name.clone()), AccountState::look_up(*uid, name)))
                .collect(),
            groups: groups
                .map(|gid| {
                    (
                        *gid,
                        user_names::of_gid(*gid).map_err(|errno| errno.to_string()),
                    )
                })
                .collect(),
        }
    }

    /// The answer about one account.
    #[cfg(test)]
    pub fn fake(uid: u32, name: &str, account: AccountState) -> Self {
        Self {
            accounts: [((uid, name.to_owned()), account)].into(),
            groups: BTreeMap::new(),
        }
    }

    pub fn account(&self, uid: u32, name: &str) -> Option<&AccountState> {
        self.accounts.get(&(uid, name.to_owned()))
    }

    pub fn names(&self) -> impl Iterator<Item = (u32, Option<&str>)> {
        self.accounts
            .iter()
            .filter_map(|((uid, _), account)| match account {
                AccountState::Is(login) => Some((*uid, Some(login.name.as_str()))),
                AccountState::NoAccount => Some((*uid, None)),
                AccountState::Unknown(_) => None,
            })
    }

    /// Returns the groups that a login would give to the account now.
    pub fn groups(&self, uid: u32, name: &str) -> &[u32] {
        match self.account(uid, name) {
            Some(AccountState::Is(login)) => &login.groups,
            Some(AccountState::NoAccount | AccountState::Unknown(_)) | None => &[],
        }
    }

    /// Returns why a uid is not this account any more. A uid that had no account and has none is unchanged.
    pub fn is_other(&self, uid: u32, name: &str) -> Option<String> {
        match self.account(uid, name)? {
            AccountState::Is(login) if login.name == name => None,
            AccountState::Is(login) => {
                let now = &login.name;
                Some(format!("uid {uid} is '{now}' now, and was '{name}'"))
            }
            AccountState::NoAccount if name == nameless(uid) => None,
            AccountState::NoAccount => Some(format!("the account of {name} no longer exists")),
            AccountState::Unknown(_) => self.unanswered(uid, name),
        }
    }

    /// Returns why the user database has not answered about this account. That says nothing about a change.
    pub fn unanswered(&self, uid: u32, name: &str) -> Option<String> {
        match self.account(uid, name)? {
            AccountState::Unknown(why) => {
                Some(format!("cannot look up the account of {name}: {why}"))
            }
            AccountState::Is(_) | AccountState::NoAccount => None,
        }
    }

    /// Why a subject changed: another account, or without a group of `named`. `None` also if it was not asked for.
    pub fn has_lost(&self, subject: &Subject, named: &BTreeSet<u32>) -> Option<String> {
        let (uid, user) = (subject.uid(), subject.user());
        self.account(uid, user)?;
        self.is_other(uid, user).or_else(|| {
            let now = self.groups(uid, user);
            let mut gids_before = subject.gids().iter().filter(|gid| named.contains(gid));
            gids_before
                .any(|gid| !now.contains(gid))
                .then(|| format!("{user} has lost a group that the policy or a grant names"))
        })
    }

    /// Returns why a gid is not this group any more. A gid that had no name and has none is unchanged.
    pub fn is_other_group(&self, gid: u32, name: &str) -> Option<String> {
        match self.groups.get(&gid)? {
            Ok(Some(now)) if now == name => None,
            Ok(Some(now)) => Some(format!("gid {gid} is '{now}' now, and was '{name}'")),
            Ok(None) if name == nameless(gid) => None,
            Ok(None) => Some(format!("the group {name} no longer exists")),
            Err(why) => Some(format!("cannot look up the group {name}: {why}")),
        }
    }

    /// Returns the name of a group, or `#gid`. Fails if it was not asked for, or could not be looked up.
    pub fn group_name(&self, gid: u32) -> Result<String, String> {
        match self.groups.get(&gid) {
            Some(Ok(name)) => Ok(name.clone().unwrap_or_else(|| nameless(gid))),
            Some(Err(why)) => Err(why.clone()),
            None => Err("nobody asked".to_owned()),
        }
    }
}

impl AccountState {
    /// Looks up by name first, because a uid may have several names.
    fn look_up(uid: u32, name: &str) -> Self {
        let by_name = match name.starts_with('#') {
            true => Ok(None),
            false => user_names::of_name(name, uid),
        };
        let found = by_name.and_then(|found| match found {
            Some(login) => Ok(Some(login)),
            None => user_names::of_uid(uid),
        });
        match found {
            Ok(Some(login)) => Self::Is(login),
            Ok(None) => Self::NoAccount,
            Err(errno) => Self::Unknown(errno.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(name: &str, groups: &[u32]) -> AccountState {
        AccountState::Is(Login {
            name: name.to_owned(),
            groups: groups.to_vec(),
        })
    }

    #[test]
    fn somebody_is_a_uid_and_a_name() {
        let named = [1000, 50].into();
        for (name, account, lost) in [
            ("ann", is("ann", &[1000, 50]), None),
            ("ann", is("ann", &[50]), Some("has lost a group")),
            ("ann", is("eve", &[1000, 50]), Some("'eve' now")),
            ("ann", AccountState::NoAccount, Some("no longer exists")),
            (
                "ann",
                AccountState::Unknown("EIO".into()),
                Some("cannot look up the account of ann: EIO"),
            ),
            ("#1000", is("eve", &[1000]), Some("'eve' now")),
            // Known by number only, and its group is in no database.
            ("#1000", AccountState::NoAccount, Some("has lost a group")),
        ] {
            let subject = Subject::fake(1000, name, None);
            let why = People::fake(1000, name, account.clone()).has_lost(&subject, &named);
            let is_so = why
                .as_deref()
                .zip(lost)
                .is_some_and(|(why, lost)| why.contains(lost));
            assert!(
                is_so || why.is_none() && lost.is_none(),
                "{name} {account:?}: {why:?}"
            );
        }
        let no_account = People::fake(1000, "#1000", AccountState::NoAccount);
        let subject = Subject::fake(1000, "#1000", None);
        assert_eq!(no_account.has_lost(&subject, &[50].into()), None);
        assert_eq!(People::default().has_lost(&subject, &named), None);
    }

    #[test]
    fn this_machine_has_root_and_no_such_user() {
        let mut question = Question::default();
        question.account(0, "root");
        question.account(0, "eve");
        question.account(70_001, "ldap");
        question.gids.extend([0, 70_002]);
        let people = People::look_up(&question);
        assert_eq!(people.is_other(0, "root"), None);
        assert!(people.is_other(0, "eve").unwrap().contains("'root' now"));
        assert!(
            people
                .is_other(70_001, "ldap")
                .unwrap()
                .contains("no longer exists")
        );
        assert!(people.groups(0, "root").contains(&0));
        assert_eq!(people.group_name(0), Ok("root".to_owned()));
        assert_eq!(people.group_name(70_002), Ok("#70002".to_owned()));
        assert_eq!(people.is_other_group(70_002, "#70002"), None);
        assert!(
            people
                .is_other_group(70_002, "ops")
                .unwrap()
                .contains("no longer exists")
        );
        assert!(
            people
                .is_other_group(0, "ops")
                .unwrap()
                .contains("'root' now")
        );
    }
}
