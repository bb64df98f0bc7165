//! Separates answers of the user database from missing answers and from answers at an earlier load. A missing answer
//! never means "does not exist". "Does not exist" never ends a denial.

use std::collections::BTreeMap;

use nix::errno::Errno;
use nix::unistd::{Gid, Group, User};

use super::Names;
use crate::names::LastKnown;

impl Names {
    /// Continues denials of names that do not exist now, with their ids of an earlier load.
    #[must_use]
    pub fn after(mut self, last: LastKnown) -> Self {
        self.last = last;
        self
    }

    /// Turns a missing answer of the user database into a warning. It is for a start, when no policy is in force yet.
    /// Such a name grants nothing, and a denial of it continues with its last known ids.
    #[must_use]
    pub fn at_start(mut self) -> Self {
        self.may_be_unanswered = true;
        self
    }

    pub fn may_be_unanswered(&self) -> bool {
        self.may_be_unanswered
    }

    pub fn unanswered(&self) -> Vec<String> {
        self.unanswered.borrow().iter().cloned().collect()
    }

    /// Returns the current or last known ids of all names that were asked for, for the next load.
    pub fn last_known(&self) -> LastKnown {
        let known = self.known.borrow();
        let users = known.users.iter().filter_map(|(name, ids)| {
            let uid = ids.map(|ids| ids.uid);
            let uid = uid.or_else(|| self.last.users.get(name).copied())?;
            Some((name.clone(), uid))
        });
        let groups = known.groups.iter().filter_map(|(name, gid)| {
            let gid = gid.or_else(|| self.last.groups.get(name).copied())?;
            Some((name.clone(), gid))
        });
        LastKnown {
            users: users.collect(),
            groups: groups.collect(),
            members: known.listed.clone(),
        }
    }

    /// Unwraps an answer. If the user database did not answer, it records that and returns `None`.
    pub(super) fn answered<T>(&self, what: &str, found: Result<Option<T>, Errno>) -> Option<T> {
        match found {
            Ok(found) => found,
            // Some services report "does not exist" as an error (getpwnam(3), "Return value").
            Err(Errno::ENOENT | Errno::ESRCH) => None,
            Err(errno) => {
                let why = errno.desc();
                self.unanswered.borrow_mut().insert(format!(
                    "the user database does not answer about {what}: {why}; load the policy again when it does"
                ));
                None
            }
        }
    }

    fn uid_of(&self, user: &str) -> Option<u32> {
        let found = User::from_name(user);
        let found = self.answered(&format!("user '{user}'"), found)?;
        Some(found.uid.as_raw())
    }

    /// Returns the members of a group, each with its uid. So that an unreachable directory service removes nobody, the
    /// last known ones stay if the group is gone, has a name without an account, or omits a member without one.
    pub(super) fn members_now(&self, gid: u32) -> BTreeMap<String, u32> {
        let none = BTreeMap::new();
        let before = self.last.members.get(&gid).unwrap_or(&none);
        let group = Group::from_gid(Gid::from_raw(gid));
        let group = self.answered(&format!("the group of gid {gid}"), group);
        let mut members = BTreeMap::new();
        for name in group.iter().flat_map(|group| &group.mem) {
            let uid = self.uid_of(name).or_else(|| before.get(name).copied());
            members.extend(uid.map(|uid| (name.clone(), uid)));
        }
        match crate::unreachable::by_first_group(gid) {
            Ok(first) => members.extend(first),
            Err(error) => {
                let why = format!("'/etc/passwd' cannot be read: {error}");
                self.unanswered.borrow_mut().insert(why);
            }
        }
        for (name, uid) in before {
            let is_listed = members.contains_key(name);
            if !is_listed && group.is_none() {
                let now = self.uid_of(name);
                members.insert(name.clone(), now.unwrap_or(*uid));
            } else if !is_listed && self.uid_of(name).is_none() && !self.has_account(*uid) {
                members.insert(name.clone(), *uid);
            }
        }
        members
    }

    fn has_account(&self, uid: u32) -> bool {
        let found = User::from_uid(uid.into());
        self.answered(&format!("uid {uid}"), found).is_some()
    }
}

#[cfg(test)]
mod tests {
    use remit_policy::{Diagnostic, Source};

    use super::*;
    use crate::Loaded;
    use crate::drop_ins::PolicyFiles;

    fn load(names: &Names, text: &str) -> Result<Vec<String>, Vec<String>> {
        let source = Source {
            name: "a.toml".into(),
            text: text.into(),
        };
        let files = PolicyFiles {
            sources: vec![source],
            warnings: Vec::new(),
        };
        let lines = |all: Vec<Diagnostic>| all.iter().map(ToString::to_string).collect();
        let loaded = Loaded::of(files, names, &remit_policy_compile::load);
        loaded.map(|loaded| lines(loaded.warnings)).map_err(lines)
    }

    #[test]
    fn test_that_depends_on_unknown_groups_is_not_tested() {
        let grant = |to: &str| format!("[[grant]]\nto = ['{to}']\nallow = ['run']\n");
        let deny = "[[deny]]\nto = ['%remit']\ndeny = ['run']\n";
        for (rules, subject, verdict, expect) in [
            (grant("%remit"), "agent1", "allow", Ok(1)),
            (grant("%remit"), "agent1", "deny", Ok(1)),
            (grant("agent1") + deny, "agent1", "allow", Ok(1)),
            (grant("agent1"), "agent1", "allow", Ok(0)),
            (grant("agent1"), "agent2", "deny", Ok(0)),
            (grant("agent1"), "agent2", "allow", Err(())),
            (grant("%remit"), "%remit", "allow", Ok(0)),
            (grant("%remit"), "#64001", "deny", Ok(0)),
            (grant("%remit"), "#64001", "allow", Err(())),
        ] {
            let test = format!(
                "{rules}[[test]]\nwho = '{subject}'\nwhat = 'run'\nverdict = '{verdict}'\n"
            );
            let found = load(&Names::of_other_machine(Vec::new()), &test);
            let not_tested = found.clone().map(|warnings| {
                let why = "not tested: the verdict depends on the groups of this user";
                warnings.iter().filter(|one| one.contains(why)).count()
            });
            assert_eq!(not_tested.map_err(drop), expect, "{test}: {found:?}");
        }
    }

    #[test]
    fn a02_silent_user_database_refuses_load_not_start() {
        let text = "[[grant]]\nto = [\"root\"]\nallow = [\"run\"]\n";
        let unanswered = |names: &Names, errno| names.answered::<()>("user 'ann'", Err(errno));
        let names = Names::default();
        assert_eq!(unanswered(&names, Errno::ENOENT), None);
        assert_eq!(load(&names, text), Ok(Vec::new()));
        assert_eq!(unanswered(&names, Errno::EIO), None);
        let why = "policy: error: the user database does not answer about user 'ann': I/O error; load the policy \
                   again when it does";
        assert_eq!(load(&names, text), Err(vec![why.to_owned()]));
        let names = Names::default().at_start();
        assert_eq!(unanswered(&names, Errno::EIO), None);
        let warning = why.replace("error: the", "warning: the");
        assert_eq!(load(&names, text), Ok(vec![warning]));
    }

    #[test]
    fn a02_denial_of_unknown_name_keeps_last_id() {
        let denies = |subject: &str| format!("[[deny]]\nto = [\"{subject}\"]\ndeny = [\"run\"]\n");
        let last = || LastKnown {
            users: [("no-such-user".to_owned(), 1999)].into(),
            groups: [("no-such-group".to_owned(), 2999)].into(),
            members: [(2999, [("no-such-member".to_owned(), 1998)].into())].into(),
        };
        for (subject, what) in [("no-such-user", "uid 1999"), ("%no-such-group", "gid 2999")] {
            let (policy, names) = (denies(subject), Names::default().after(last()));
            let warnings = load(&names, &policy).unwrap();
            assert!(
                warnings[0].contains(&format!("goes on for {what}")),
                "{warnings:?}"
            );
            let next = Names::default().after(names.last_known());
            assert!(load(&next, &policy).is_ok());
            // A name that was never known is an error, at a start too.
            assert!(load(&Names::default().at_start(), &policy).is_err());
        }
        let names = Names::default().after(last());
        assert_eq!(remit_policy::Machine::members(&names, 2999), [1998]);
        // Another user has the uid now: root.
        let mut others = last();
        others.members = [(0, [("no-such-member".to_owned(), 0)].into())].into();
        let names = Names::default().after(others);
        assert!(!names.members_now(0).contains_key("no-such-member"));
    }
}
