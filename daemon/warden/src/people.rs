//! People as the user database has them at one moment, beside what the kernel said when they connected.
//!
//! An account is a uid and a name: the same number under another name is somebody else. It decides nothing
//! by itself; a right that rests on an account or on a group ends with either.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::accounts::{self, Login, nameless};
use crate::peer::Subject;

/// Who is to be looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Accounts, by the uid and the name under which they are known.
    pub accounts: BTreeSet<(u32, String)>,
    /// Groups.
    pub gids: BTreeSet<u32>,
}

/// What the user database says of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Account {
    /// The uid has this account.
    Is(Login),
    /// The uid has none.
    Nobody,
    /// It does not answer.
    Unknown(String),
}

/// The answers to a [`Question`], all of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct People {
    accounts: BTreeMap<(u32, String), Account>,
    groups: BTreeMap<u32, Result<Option<String>, String>>,
}

impl Question {
    /// About those who connected.
    pub fn of<'a>(subjects: impl IntoIterator<Item = &'a Subject>) -> Self {
        let mut question = Self::default();
        subjects.into_iter().for_each(|one| question.add(one));
        question
    }

    /// About one more of them.
    pub fn add(&mut self, subject: &Subject) {
        self.account(subject.uid(), subject.user());
    }

    /// About an account.
    pub fn account(&mut self, uid: u32, name: &str) {
        self.accounts.insert((uid, name.to_owned()));
    }
}

impl People {
    /// Asks the user database. It may wait for a directory service.
    pub fn look_up(question: &Question) -> Self {
        let accounts = question.accounts.iter();
        let groups = question.gids.iter();
        Self {
            accounts: accounts
                .map(|(uid, name)| ((*uid, name.clone()), Account::look_up(*uid, name)))
                .collect(),
            groups: groups
                .map(|gid| {
                    (
                        *gid,
                        accounts::of_gid(*gid).map_err(|errno| errno.to_string()),
                    )
                })
                .collect(),
        }
    }

    /// What is known of an account; `None` where nobody asked.
    pub fn account(&self, uid: u32, name: &str) -> Option<&Account> {
        self.accounts.get(&(uid, name.to_owned()))
    }

    /// The names by which uids are known now, `None` for a uid that has no account.
    pub fn names(&self) -> impl Iterator<Item = (u32, Option<&str>)> {
        self.accounts
            .iter()
            .filter_map(|((uid, _), account)| match account {
                Account::Is(login) => Some((*uid, Some(login.name.as_str()))),
                Account::Nobody => Some((*uid, None)),
                Account::Unknown(_) => None,
            })
    }

    /// The groups that a login would give to an account now.
    pub fn groups(&self, uid: u32, name: &str) -> &[u32] {
        match self.account(uid, name) {
            Some(Account::Is(login)) => &login.groups,
            Some(Account::Nobody | Account::Unknown(_)) | None => &[],
        }
    }

    /// Why a uid is not this account any more. Whoever had no account and has none is who they were.
    pub fn is_other(&self, uid: u32, name: &str) -> Option<String> {
        match self.account(uid, name)? {
            Account::Is(login) if login.name == name => None,
            Account::Is(login) => {
                let now = &login.name;
                Some(format!("uid {uid} is '{now}' now, and was '{name}'"))
            }
            Account::Nobody if name == nameless(uid) => None,
            Account::Nobody => Some(format!("the account of {name} is gone")),
            Account::Unknown(why) => {
                Some(format!("the account of {name} cannot be looked up: {why}"))
            }
        }
    }

    /// Why somebody is not who connected: another account, or without a group of those in `named`.
    /// `None` also for one who was not asked about.
    pub fn has_lost(&self, subject: &Subject, named: &BTreeSet<u32>) -> Option<String> {
        let (uid, user) = (subject.uid(), subject.user());
        self.account(uid, user)?;
        self.is_other(uid, user).or_else(|| {
            let now = self.groups(uid, user);
            let mut had = subject.gids().iter().filter(|gid| named.contains(gid));
            had.any(|gid| !now.contains(gid))
                .then(|| format!("{user} has lost a group that the policy or a grant names"))
        })
    }

    /// Why a gid is not this group any more. A number that had no name and has none is what it was.
    pub fn is_other_group(&self, gid: u32, name: &str) -> Option<String> {
        match self.groups.get(&gid)? {
            Ok(Some(now)) if now == name => None,
            Ok(Some(now)) => Some(format!("gid {gid} is '{now}' now, and was '{name}'")),
            Ok(None) if name == nameless(gid) => None,
            Ok(None) => Some(format!("the group {name} is gone")),
            Err(why) => Some(format!("the group {name} cannot be looked up: {why}")),
        }
    }

    /// The name of a group, or `#gid`.
    ///
    /// # Errors
    /// It cannot be looked up, or was not asked about.
    pub fn group_name(&self, gid: u32) -> Result<String, String> {
        match self.groups.get(&gid) {
            Some(Ok(name)) => Ok(name.clone().unwrap_or_else(|| nameless(gid))),
            Some(Err(why)) => Err(why.clone()),
            None => Err("nobody asked".to_owned()),
        }
    }
}

impl Account {
    /// By the name first: a uid may have several.
    fn look_up(uid: u32, name: &str) -> Self {
        let by_name = match name.starts_with('#') {
            true => Ok(None),
            false => accounts::of_name(name, uid),
        };
        let found = by_name.and_then(|found| match found {
            Some(login) => Ok(Some(login)),
            None => accounts::of_uid(uid),
        });
        match found {
            Ok(Some(login)) => Self::Is(login),
            Ok(None) => Self::Nobody,
            Err(errno) => Self::Unknown(errno.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people(uid: u32, name: &str, account: Account) -> People {
        People {
            accounts: [((uid, name.to_owned()), account)].into(),
            groups: BTreeMap::new(),
        }
    }

    fn is(name: &str, groups: &[u32]) -> Account {
        Account::Is(Login {
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
            ("ann", Account::Nobody, Some("is gone")),
            (
                "ann",
                Account::Unknown("EIO".into()),
                Some("cannot be looked up: EIO"),
            ),
            ("#1000", is("eve", &[1000]), Some("'eve' now")),
            // By number alone, and its group is in no database.
            ("#1000", Account::Nobody, Some("has lost a group")),
        ] {
            let subject = Subject::fake(1000, name, None);
            let why = people(1000, name, account.clone()).has_lost(&subject, &named);
            let is_so = why
                .as_deref()
                .zip(lost)
                .is_some_and(|(why, lost)| why.contains(lost));
            assert!(
                is_so || why.is_none() && lost.is_none(),
                "{name} {account:?}: {why:?}"
            );
        }
        let nobody = people(1000, "#1000", Account::Nobody);
        let subject = Subject::fake(1000, "#1000", None);
        assert_eq!(nobody.has_lost(&subject, &[50].into()), None);
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
        assert!(people.is_other(70_001, "ldap").unwrap().contains("is gone"));
        assert!(people.groups(0, "root").contains(&0));
        assert_eq!(people.group_name(0), Ok("root".to_owned()));
        assert_eq!(people.group_name(70_002), Ok("#70002".to_owned()));
        assert_eq!(people.is_other_group(70_002, "#70002"), None);
        assert!(
            people
                .is_other_group(70_002, "ops")
                .unwrap()
                .contains("is gone")
        );
        assert!(
            people
                .is_other_group(0, "ops")
                .unwrap()
                .contains("'root' now")
        );
    }
}
