//! Accounts and groups of passwd(5), group(5) and shadow(5). Directory services are not asked.

use std::collections::{BTreeMap, BTreeSet};

use remit_common::text;
use remit_plan::account_id;
use remit_policy::{Ids, MachineTable};

use crate::lines::lines;
use crate::machine::Machine;
use crate::path::FilePath;

/// Bytes of a name.
const NAME: usize = 256;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    /// By name.
    pub users: BTreeMap<String, User>,
    pub groups: BTreeMap<String, Group>,
    /// Gids of the groups that list a user.
    listed: BTreeMap<String, Vec<u32>>,
    /// The first name of a number, in the order of names.
    names: BTreeMap<u32, String>,
    group_names: BTreeMap<u32, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub home: Option<FilePath>,
    pub shell: Vec<u8>,
    pub has_password: bool,
    /// Its password is empty, which pam_unix(8) takes with `nullok`.
    pub is_open: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    pub gid: u32,
    pub members: BTreeSet<String>,
}

impl User {
    /// Returns true if its shell is one that a person or a program gets commands by.
    pub fn has_shell(&self) -> bool {
        let name = self.shell.rsplit(|byte| *byte == b'/').next();
        !matches!(name, Some(b"nologin" | b"false" | b"sync"))
    }
}

impl Accounts {
    pub fn read(machine: &Machine) -> Self {
        let text = |path: &str| {
            let path = FilePath::new(path);
            path.and_then(|path| machine.read(&path))
                .unwrap_or_default()
        };
        let users = text("/etc/passwd");
        Self::parse(&users, &text("/etc/group"), &text("/etc/shadow"))
    }

    /// As the C library reads them: the last fields may be missing, and the last of all may have colons.
    pub fn parse(passwd: &[u8], group: &[u8], shadow: &[u8]) -> Self {
        let mut all = Self::default();
        for (_, line) in lines(passwd) {
            let fields: Vec<&[u8]> = line.splitn(7, |byte| *byte == b':').collect();
            let field = |number: usize| fields.get(number).copied().unwrap_or_default();
            let ids = id(line, 2).zip(id(line, 3));
            if let (Some(name), Some((uid, gid))) = (name_of(field(0)), ids) {
                let user = User {
                    uid,
                    gid,
                    home: FilePath::new(field(5)),
                    shell: field(6).to_vec(),
                    has_password: is_password(field(1)),
                    is_open: field(1).is_empty(),
                };
                all.users.entry(name).or_insert(user);
            }
        }
        for (_, line) in lines(group) {
            let mut fields = line.splitn(4, |byte| *byte == b':');
            if let (Some(name), Some(gid)) = (fields.next().and_then(name_of), id(line, 2)) {
                let members = fields.nth(2).unwrap_or_default();
                let members = members.split(|byte| *byte == b',').filter_map(name_of);
                let members = members.collect();
                all.groups.entry(name).or_insert(Group { gid, members });
            }
        }
        for (_, line) in lines(shadow) {
            let mut fields = line.split(|byte| *byte == b':');
            let name = fields.next().and_then(name_of);
            let user = name.and_then(|name| all.users.get_mut(&name));
            if let (Some(user), Some(password)) = (user, fields.next()) {
                user.has_password = is_password(password);
                user.is_open = password.is_empty();
            }
        }
        all.index();
        all
    }

    /// Notes names and memberships by number, after a change of the tables.
    pub fn index(&mut self) {
        self.listed.clear();
        self.names.clear();
        self.group_names.clear();
        for (name, user) in &self.users {
            self.names.entry(user.uid).or_insert_with(|| name.clone());
        }
        for (name, group) in &self.groups {
            self.group_names
                .entry(group.gid)
                .or_insert_with(|| name.clone());
            for member in &group.members {
                self.listed
                    .entry(member.clone())
                    .or_default()
                    .push(group.gid);
            }
        }
    }

    pub fn name_of(&self, uid: u32) -> Option<&str> {
        self.names.get(&uid).map(String::as_str)
    }

    pub fn home(&self, uid: u32) -> Option<FilePath> {
        self.users.get(self.name_of(uid)?)?.home.clone()
    }

    pub fn group_name_of(&self, gid: u32) -> Option<&str> {
        self.group_names.get(&gid).map(String::as_str)
    }

    pub fn uid(&self, name: &str) -> Option<u32> {
        self.users.get(name).map(|user| user.uid)
    }

    /// `name`: of a group, or `#gid`.
    pub fn gid(&self, name: &str) -> Option<u32> {
        let number = || name.strip_prefix('#')?.parse().ok();
        self.groups.get(name).map(|group| group.gid).or_else(number)
    }

    /// Returns all gids of this account's login, with the primary one first.
    pub fn gids(&self, name: &str) -> Vec<u32> {
        let primary = self.users.get(name).map(|user| user.gid);
        let mut gids: Vec<u32> = primary.into_iter().collect();
        for gid in self.listed.get(name).into_iter().flatten() {
            if !gids.contains(gid) {
                gids.push(*gid);
            }
        }
        gids
    }

    /// Returns the users whose login has this group.
    pub fn members(&self, gid: u32) -> impl Iterator<Item = (&str, u32)> {
        let is_in = move |(name, user): &(&String, &User)| {
            let mut listed = self.listed.get(*name).into_iter().flatten();
            user.gid == gid || listed.any(|group| *group == gid)
        };
        let users = self.users.iter().filter(is_in);
        users.map(|(name, user)| (name.as_str(), user.uid))
    }

    /// Returns what these tables say of names, for a policy of their machine. Hosts and programs are not in them.
    pub fn table(&self) -> MachineTable {
        let ids = |user: &User| Ids {
            uid: user.uid,
            gid: user.gid,
        };
        let (users, groups) = (self.users.iter(), self.groups.iter());
        MachineTable {
            users: users
                .map(|(name, user)| (name.clone(), ids(user)))
                .collect(),
            groups: groups
                .clone()
                .map(|(name, group)| (name.clone(), group.gid))
                .collect(),
            listed: groups
                .map(|(_, group)| {
                    let members = self.members(group.gid);
                    (group.gid, members.map(|(_, uid)| uid).collect())
                })
                .collect(),
            members: self
                .users
                .keys()
                .map(|name| (name.clone(), self.gids(name)))
                .collect(),
            ..MachineTable::default()
        }
    }
}

/// Blanks of the C locale, in which programs of root read the tables. Those of others begin a name there.
fn without_blanks(text: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | 0x09..=0x0d);
    let blanks = text.iter().take_while(|byte| is_blank(byte)).count();
    text.get(blanks..).unwrap_or_default()
}

fn id(line: &[u8], number: usize) -> Option<u32> {
    let field = line.split(|byte| *byte == b':').nth(number)?;
    let is_ascii = without_blanks(field).first().is_some_and(u8::is_ascii);
    is_ascii.then(|| account_id(line, number)).flatten()
}

/// The C library takes any bytes for a name: an odd one is escaped.
fn name_of(bytes: &[u8]) -> Option<String> {
    let name = without_blanks(bytes);
    (!name.is_empty()).then(|| text::line(name, NAME))
}

/// `x` refers to shadow(5); `!` and `*` begin what no password matches.
fn is_password(field: &[u8]) -> bool {
    !matches!(field, [b'!' | b'*', ..] | b"x")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A line that the C library takes for a group, and this does not, would hide who is in it.
    #[test]
    fn odd_lines_count_as_the_c_library_reads_them() {
        let group = b"do\x1bcker:x: +6002:bot\n\xff:x:-18446744073709545613:bot\n\t late:x:6004:bot\n:x:6005:bot\nshort:x:6007\nshorter:x\nlong:x:6008:ann:x,bot,y:z\n\xa0late:x:7777:\n\xa0x:x:\xa06009:bot\n";
        let passwd = b"bot:x:5001: 5001::/:/bin/sh\nother:x:5002x:5002::/:/bin/sh\nshort:x:5003:100\nsix:x:5004:100::/h\nlong:x:5005:100::/h:/sbin/nologin:x\n";
        let found = Accounts::parse(passwd, group, b"");
        let gids: BTreeSet<u32> = found.gids("bot").into_iter().collect();
        assert_eq!(gids, [5001, 6002, 6003, 6004, 6008].into());
        let names: Vec<&str> = found.groups.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["\\xa0late", "\\xff", "do\\x1bcker", "late", "long", "short"]
        );
        let users = found.users.iter();
        let users: Vec<_> = users
            .map(|(name, user)| (name.as_str(), user.uid, user.home.clone(), user.has_shell()))
            .collect();
        let home = FilePath::new("/h");
        assert_eq!(
            users,
            [
                ("bot", 5001, FilePath::new("/"), true),
                ("long", 5005, home.clone(), true),
                ("short", 5003, None, true),
                ("six", 5004, home, true),
            ]
        );
    }

    #[test]
    fn table_has_the_members_of_each_group_by_number() {
        let passwd = b"bot:x:5001:100::/:/bin/sh\nann:x:5002:5002::/:/bin/sh\n";
        let group = b"users:x:100:ann\nann:x:5002:\nempty:x:7:nobody\n";
        let found = Accounts::parse(passwd, group, b"").table();
        let ids = |uid, gid| Ids { uid, gid };
        let expect = MachineTable {
            users: [("ann", ids(5002, 5002)), ("bot", ids(5001, 100))]
                .map(|(name, ids)| (name.to_owned(), ids))
                .into(),
            groups: [("ann", 5002), ("empty", 7), ("users", 100)]
                .map(|(name, gid)| (name.to_owned(), gid))
                .into(),
            members: [("ann", vec![5002, 100]), ("bot", vec![100])]
                .map(|(name, gids)| (name.to_owned(), gids))
                .into(),
            listed: [(7, vec![]), (100, vec![5002, 5001]), (5002, vec![5002])].into(),
            ..MachineTable::default()
        };
        assert_eq!(found, expect);
    }
}
