//! Local accounts that can log in, privileged groups, and sessions. Reads only passwd(5) and group(5): a service could hang.

use std::collections::BTreeMap;
use std::path::Path;

use remit_common::accounts::ROOT_GROUPS;
use remit_wire::host::{Account, Group, List, Session, Users};

use crate::read::{self, Gaps, Sources, Why};
use crate::utmp::{self, Kind};

const MAX_LISTED: usize = 256;
const MEMBERS: usize = 16;
const NO_SHELL: &[&str] = &["nologin", "false", "true", "sync", "shutdown", "halt"];
/// Groups beyond [`ROOT_GROUPS`] that give access to others' data, or to remit.
const OTHER_GROUPS: &[&str] = &["adm", "systemd-journal", "kvm", "remit", "remit-admin"];

pub(crate) fn gather(
    at: &Sources,
    sessions: Option<Result<List<Session>, Why>>,
    gaps: &mut Gaps,
) -> Users {
    let sessions = sessions.unwrap_or_else(|| Err("the login manager was not asked".into()));
    let sessions = sessions.or_else(|why| logged_in(at).map_err(|other| format!("{why}; {other}")));
    let passwd = read::text(&at.etc.join("passwd"), 16 << 20);
    let accounts = passwd.as_ref().map(|text| accounts(text));
    let accounts = accounts.map(|all| List::cut(all, MAX_LISTED));
    let groups = passwd.as_ref().map_err(Clone::clone).and_then(|passwd| {
        let text = read::text(&at.etc.join("group"), 16 << 20)?;
        Ok(List::cut(groups(&text, passwd), MAX_LISTED))
    });
    Users {
        sessions: gaps.known("users.sessions", sessions),
        accounts: gaps.known("users.accounts", accounts.map_err(Clone::clone)),
        groups: gaps.known("users.groups", groups),
    }
}

pub(crate) fn names(etc: &Path) -> BTreeMap<u64, String> {
    let text = read::text(&etc.join("passwd"), 16 << 20).unwrap_or_default();
    first_names(passwd(&text).map(|(account, _)| (account.uid, account.name)))
}

pub(crate) fn group_names(etc: &Path) -> BTreeMap<u64, String> {
    let text = read::text(&etc.join("group"), 16 << 20).unwrap_or_default();
    first_names(text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        Some((fields.nth(1)?.parse().ok()?, read::shown(name)))
    }))
}

/// The first name of an id is the valid one.
fn first_names(all: impl Iterator<Item = (u64, String)>) -> BTreeMap<u64, String> {
    let mut names = BTreeMap::new();
    for (id, name) in all {
        names.entry(id).or_insert(name);
    }
    names
}

/// Returns each account with the number of its primary group.
fn passwd(text: &str) -> impl Iterator<Item = (Account, u64)> + '_ {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1)?;
        // An empty shell means /bin/sh.
        let shell = fields
            .next()
            .map(str::trim)
            .filter(|shell| !shell.is_empty())
            .unwrap_or("/bin/sh");
        let account = Account {
            name: read::shown(name),
            uid,
            home: read::shown(home),
            shell: read::shown(shell),
        };
        Some((account, gid))
    })
}

fn accounts(text: &str) -> Vec<Account> {
    let login = |account: &Account| {
        !NO_SHELL.contains(&account.shell.rsplit('/').next().unwrap_or_default())
    };
    // 65534 is nobody.
    let person =
        |account: &Account| account.uid == 0 || (account.uid >= 1000 && account.uid != 65534);
    let mut accounts: Vec<Account> = passwd(text)
        .map(|(account, _)| account)
        .filter(|account| login(account) && person(account))
        .collect();
    accounts.sort_by_key(|account| account.uid);
    accounts
}

fn is_privileged(group: &str) -> bool {
    let mut names = ROOT_GROUPS.iter().map(|(name, _)| name);
    names.any(|name| *name == group) || OTHER_GROUPS.contains(&group)
}

/// Members by the primary group of their account count, too. root is in its own group by that, which says nothing.
fn groups(text: &str, accounts: &str) -> Vec<Group> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| is_privileged(name))?;
            let gid: Option<u64> = fields.nth(1)?.parse().ok();
            let members = fields.next()?.split(',').map(str::trim);
            let members = members.filter(|member| !member.is_empty());
            let mut members: Vec<String> = members.map(read::shown).collect();
            for (account, primary) in passwd(accounts) {
                let is_member = Some(primary) == gid && account.uid != 0;
                if is_member && !members.contains(&account.name) {
                    members.push(account.name);
                }
            }
            let group = Group {
                name: name.to_owned(),
                members: List::cut(members, MEMBERS),
            };
            Some(group).filter(|group| group.members.total() > 0)
        })
        .collect()
}

/// Reads sessions from utmp, for machines without a login manager.
fn logged_in(at: &Sources) -> Result<List<Session>, Why> {
    let listed = |record: utmp::Record| Session {
        user: record.user,
        tty: Some(record.line).filter(|tty| !tty.is_empty()),
        from: Some(record.host).filter(|host| !host.is_empty()),
        since: Some(record.time),
    };
    let records = utmp::tail(&at.run.join("utmp"))?;
    Ok(List::cut(
        records
            .into_iter()
            .filter(|record| record.kind == Kind::User)
            .map(listed)
            .collect(),
        MAX_LISTED,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_login_accounts_are_listed() {
        let text = "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/:/usr/sbin/nologin\nbob:x:1001:1::/home/bob:\n\
                    alice:x:1000:1:A:/home/alice:/bin/zsh\nnobody:x:65534:1::/:/bin/sh\ngit:x:1002:1::/:/bin/false\n\
                    svc:x:999:1::/:/bin/bash\ntoor:x:0:0::/:/bin/sh\n\nodd:x\n:x:0:0::/:/bin/sh\n+::::::";
        let listed: Vec<_> = accounts(text)
            .into_iter()
            .map(|account| (account.name, account.shell))
            .collect();
        let expect = [
            ("root", "/bin/bash"),
            ("toor", "/bin/sh"),
            ("alice", "/bin/zsh"),
            ("bob", "/bin/sh"),
        ];
        assert_eq!(
            listed,
            expect.map(|(name, shell)| (name.to_owned(), shell.to_owned()))
        );
    }

    #[test]
    fn groups_of_interest_have_members() {
        let text = "root:x:0:\nsudo:x:27:alice,bob\nadm:x:4:\ncdrom:x:24:alice\nwheel:x:10:carol\ndocker:x:999:\n\
                    lxd:x:odd:\nremit:x\nmicrok8s:x:998:alice\nremit-admin:x:997:carol\n";
        // bob and dave by their primary groups.
        let accounts = "root:x:0:0::/root:\nalice:x:1000:1000::/:\nbob:x:1001:999::/:\ndave:x:1002:27::/:\n\
                        alice:x:1000:27::/:\nodd:x:1:y::/:\n";
        let listed: Vec<_> = groups(text, accounts)
            .into_iter()
            .map(|group| format!("{}: {}", group.name, group.members.items.join(",")))
            .collect();
        assert_eq!(
            listed,
            [
                "sudo: alice,bob,dave",
                "wheel: carol",
                "docker: bob",
                "microk8s: alice",
                "remit-admin: carol"
            ]
        );
    }

    proptest! {
        #[test]
        fn odd_files_never_panic(text in "[a-z0-9:,\n]{0,200}", odd in ".{0,100}") {
            let _ = (accounts(&text), groups(&text, &odd), accounts(&odd), groups(&odd, &text));
        }
    }
}
