//! What a change of a file of accounts gives somebody, by its lines. It compares all lines of a name: of two, glibc takes the
//! first for an account, and each one for the members of a group (initgroups). It never has a password.

mod tables;

use std::collections::BTreeSet;

use remit_common::accounts::PASSWORD;

pub use self::tables::Groups;
use self::tables::{Numbers, Renewed, by_name};
use crate::accounts::{AccountFile, UserRecord, account_id, account_name, field};
use crate::lines::TableChange;
use crate::plan::Change;
use crate::ranges::IdRange;
use crate::risk::{Risk, worst};
use crate::subject::{Subject, shown};
use crate::view::View;

/// Facts of one file, and members of one group in them.
const MOST: usize = 64;
const MEMBERS: usize = 4;
/// The group that has no rights: `nogroup` or `nobody`, the kernel's overflowgid.
const NO_USER: u32 = 65_534;
/// Numbers below are those of root and of accounts. useradd(8) gives ranges above: login.defs(5), SUB_UID_MIN.
const HIGH: u32 = 1 << 16;

/// Returns the facts of a file of accounts, the worst of each kind; more are counted.
pub fn account_facts(view: &View<'_>) -> BTreeSet<Risk> {
    let (old, new) = (by_name(view.old), by_name(view.new));
    let mut facts = BTreeSet::new();
    match AccountFile::at(view.entry.path.as_bytes()) {
        _ if view.entry.change.is_of_lines() => of_lines(view, &mut facts),
        Some(AccountFile::Shadow) => {
            Renewed::all(&old, &new).for_each(|account| password(&account, &mut facts));
        }
        Some(AccountFile::Passwd) => {
            let numbers = Numbers::new(&old, &new);
            Renewed::all(&old, &new).for_each(|found| account(&found, &numbers, &mut facts));
        }
        Some(AccountFile::Group) => {
            let numbers = Numbers::new(&old, &new);
            Renewed::all(&old, &new).for_each(|found| group(&found, &numbers, &mut facts));
        }
        Some(AccountFile::Gshadow) => Renewed::all(&old, &new).for_each(|group| {
            let subject = group.subject();
            group_password(&group, &mut facts);
            added(&subject, group.listed(2), Listed::Admin, &mut facts);
            added(&subject, group.listed(3), Listed::Member, &mut facts);
        }),
        Some(file @ (AccountFile::Subuid | AccountFile::Subgid)) => {
            ranges(view, file == AccountFile::Subgid, &mut facts);
        }
        None => {}
    }
    if let (Some(UserRecord::Membership { user, group }), Change::Create { .. }) = (
        UserRecord::at(view.entry.path.as_bytes()),
        view.entry.change,
    ) {
        let (group, member) = (Subject::new(group, true), shown(user));
        facts.insert(Risk::MemberAdded { group, member });
    }
    let (mut worst, more) = worst(facts, MOST, |risk| risk);
    if more > 0 {
        worst.push(Risk::More(more));
    }
    worst.into_iter().collect()
}

/// Returns true for a password with which somebody gets in. What begins with '!' or '*' is no hash; an empty field lets
/// everyone in.
fn opens(password: &[u8]) -> bool {
    !password.starts_with(b"!") && !password.starts_with(b"*")
}

fn password(account: &Renewed<'_>, facts: &mut BTreeSet<Risk>) {
    let was = account.was(PASSWORD).filter(|password| opens(password));
    let is = account.after.iter().map(|line| field(line, PASSWORD));
    let is: Vec<Option<&[u8]>> = is
        .map(|password| password.filter(|password| opens(password)))
        .collect();
    for password in is.iter().flatten().filter(|now| was != Some(**now)) {
        facts.insert(set(account.subject(), password));
    }
    if was.is_some() && is.first().copied().flatten().is_none() {
        facts.insert(Risk::PasswordRemoved(account.subject()));
    }
}

const fn set(account: Subject, password: &[u8]) -> Risk {
    match password.is_empty() {
        true => Risk::NoPassword(account),
        false => Risk::PasswordSet(account),
    }
}

fn account(account: &Renewed<'_>, numbers: &Numbers<'_>, facts: &mut BTreeSet<Risk>) {
    let subject = || account.subject();
    // Of a line that can be long.
    let (old_password, old_uid, old_gid) =
        (account.was(PASSWORD), account.old_id(2), account.old_id(3));
    let login = |line| {
        (
            field(line, 5).unwrap_or_default(),
            field(line, 6).unwrap_or_default(),
        )
    };
    let old_login = account.before.first().map(|line| login(line));
    for line in account.after {
        let (uid, gid) = (account_id(line, 2), account_id(line, 3));
        if uid == Some(0) {
            facts.insert(Risk::RootAccount(subject()));
        }
        // pam_unix(8) takes what is here, unless it is an 'x'.
        let password =
            field(line, PASSWORD).filter(|password| *password != b"x" && opens(password));
        if let Some(password) = password.filter(|password| old_password != Some(password)) {
            facts.insert(set(subject(), password));
        }
        if let Some(other) = uid.and_then(|uid| numbers.other(uid, account)) {
            let account = subject();
            facts.insert(Risk::SameUser { account, other });
        }
        let is_first = match old_gid {
            Some(before) => Some(before) != gid,
            None => gid != Some(NO_USER),
        };
        if let Some(gid) = gid.filter(|_| is_first) {
            facts.insert(Risk::FirstGroup {
                account: subject(),
                gid,
                group: None,
            });
        }
        if old_login.is_some() && old_uid != uid {
            facts.insert(Risk::Renumbered(subject()));
        }
        if old_login.is_some_and(|old| old != login(line)) {
            facts.insert(Risk::LoginChanged(subject()));
        }
    }
}

fn group(group: &Renewed<'_>, numbers: &Numbers<'_>, facts: &mut BTreeSet<Risk>) {
    let subject = || group.subject();
    group_password(group, facts);
    added(&subject(), group.listed(3), Listed::Member, facts);
    let old_gid = group.old_id(2);
    for gid in group.after.iter().map(|line| account_id(line, 2)) {
        if let Some(other) = gid.and_then(|gid| numbers.other(gid, group)) {
            let group = subject();
            facts.insert(Risk::SameGroup { group, other });
        }
        if !group.before.is_empty() && old_gid != gid {
            facts.insert(Risk::Renumbered(subject()));
        }
    }
}

/// With an empty field only members have the group's rights (gshadow(5)).
fn group_password(group: &Renewed<'_>, facts: &mut BTreeSet<Risk>) {
    let was = group.was(PASSWORD);
    let now = group.after.iter().filter_map(|line| field(line, PASSWORD));
    let mut set = now.filter(|password| was != Some(password));
    if set.any(opens_group) {
        facts.insert(Risk::GroupPassword(group.subject()));
    }
}

fn opens_group(password: &[u8]) -> bool {
    !password.is_empty() && password != b"x" && opens(password)
}

#[derive(Clone, Copy)]
enum Listed {
    Admin,
    Member,
}

fn added(group: &Subject, names: BTreeSet<&[u8]>, which: Listed, facts: &mut BTreeSet<Risk>) {
    let count = names.len();
    let risk = |name: &[u8]| {
        let (group, name) = (group.clone(), shown(name));
        match which {
            Listed::Admin => Risk::GroupAdmin { group, admin: name },
            Listed::Member => Risk::MemberAdded {
                group,
                member: name,
            },
        }
    };
    facts.extend(names.into_iter().take(MEMBERS).map(risk));
    if let Some(count @ 1..) = count.checked_sub(MEMBERS) {
        let group = group.clone();
        facts.insert(match which {
            Listed::Admin => Risk::MoreAdmins { group, count },
            Listed::Member => Risk::MoreMembers { group, count },
        });
    }
}

fn ranges(view: &View<'_>, is_of_groups: bool, facts: &mut BTreeSet<Risk>) {
    let lines = |bytes: Option<_>| <[u8]>::split(bytes.unwrap_or_default(), |byte| *byte == b'\n');
    let old: BTreeSet<&[u8]> = lines(view.old).collect();
    for line in lines(view.new).filter(|line| !old.contains(line)) {
        if let Ok(Some(range)) = IdRange::read(line) {
            facts.insert(Risk::ActsAs {
                is_high: range.first() >= HIGH,
                account: shown(account_name(line)),
                is_of_groups,
                first: range.first(),
                last: range.last(),
            });
        }
    }
}

/// From the changed lines: the commit finds those of before in the table.
fn of_lines(view: &View<'_>, facts: &mut BTreeSet<Risk>) {
    let changes = TableChange::decode(view.new.unwrap_or_default()).unwrap_or_default();
    let file = AccountFile::at(view.entry.path.as_bytes());
    let is_of_groups = file == Some(AccountFile::Gshadow);
    for change in &changes {
        let is_old = !matches!(change, TableChange::Add(_));
        let subject = Subject::new(change.account(), is_old);
        if is_of_groups {
            added(&subject, change.listed(2), Listed::Admin, facts);
            added(&subject, change.listed(3), Listed::Member, facts);
        }
        facts.extend(match change {
            TableChange::Add(line) => {
                let password = field(line, PASSWORD).filter(|password| opens(password));
                match is_of_groups {
                    true => password
                        .filter(|password| opens_group(password))
                        .map(|_| Risk::GroupPassword(subject)),
                    false => password.map(|password| set(subject, password)),
                }
            }
            TableChange::Remove(_) => Some(Risk::LineRemoved(subject)),
            TableChange::Set { .. } if is_of_groups => None,
            TableChange::Set { .. } => Some(Risk::LineChanged(subject)),
        });
    }
}
