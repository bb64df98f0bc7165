//! Tables of accounts by the names of their lines, as they were and as they become.

use std::collections::{BTreeMap, BTreeSet};

use crate::accounts::{AccountFile, account_id, account_name, field};
use crate::risk::Risk;
use crate::subject::{Standing, Subject, shown};
use crate::view::View;

/// The lines of one name, as they were and as they become.
pub struct Renewed<'a> {
    pub name: &'a [u8],
    pub before: &'a [&'a [u8]],
    pub after: &'a [&'a [u8]],
}

pub type Lines<'a> = BTreeMap<&'a [u8], Vec<&'a [u8]>>;

impl<'a> Renewed<'a> {
    /// Returns the names whose lines differ, or their order.
    pub fn all(old: &'a Lines<'a>, new: &'a Lines<'a>) -> impl Iterator<Item = Self> {
        let names: BTreeSet<&[u8]> = old.keys().chain(new.keys()).copied().collect();
        let all = names.into_iter().map(|name| Self {
            name,
            before: old.get(name).map(Vec::as_slice).unwrap_or_default(),
            after: new.get(name).map(Vec::as_slice).unwrap_or_default(),
        });
        all.filter(|one| one.before != one.after)
    }

    pub fn subject(&self) -> Subject {
        Subject::new(self.name, !self.before.is_empty())
    }

    /// Returns a field as it was for whoever asked for the name.
    pub fn was(&self, number: usize) -> Option<&'a [u8]> {
        self.before.first().and_then(|line| field(line, number))
    }

    pub fn old_id(&self, number: usize) -> Option<u32> {
        self.before
            .first()
            .and_then(|line| account_id(line, number))
    }

    /// Returns what a list of any line has now, and had in none before.
    pub fn listed(&self, number: usize) -> BTreeSet<&'a [u8]> {
        let list = |lines: &[&'a [u8]]| -> BTreeSet<&'a [u8]> {
            let lists = lines.iter().filter_map(|line| field(line, number));
            let names = lists.flat_map(|list| list.split(|byte| *byte == b','));
            names.filter(|name| !name.is_empty()).collect()
        };
        &list(self.after) - &list(self.before)
    }
}

/// The names of each number.
pub struct Numbers<'a>(BTreeMap<u32, BTreeSet<(Standing, &'a [u8])>>);

impl<'a> Numbers<'a> {
    pub fn new(old: &Lines<'a>, new: &Lines<'a>) -> Self {
        let mut numbers: BTreeMap<u32, BTreeSet<(Standing, &[u8])>> = BTreeMap::new();
        for (name, lines) in old.iter().chain(new) {
            let standing = Subject::new(name, old.contains_key(name)).standing;
            for id in lines.iter().filter_map(|line| account_id(line, 2)) {
                numbers.entry(id).or_default().insert((standing, name));
            }
        }
        Self(numbers)
    }

    /// Returns another name that has or had this number. A new one is not that of an old one: its own line says so.
    pub fn other(&self, id: u32, of: &Renewed<'_>) -> Option<Subject> {
        let is_known = |standing| of.before.is_empty() || standing != Standing::New;
        let known = self.0.get(&id)?.iter();
        // Those that are new come last.
        let mut known = known.take_while(|(standing, _)| is_known(*standing));
        let (standing, other) = known.find(|(_, other)| *other != of.name)?;
        Some(Subject {
            standing: *standing,
            name: shown(other),
        })
    }
}

pub fn by_name(bytes: Option<&[u8]>) -> Lines<'_> {
    let lines = bytes.unwrap_or_default().split(|byte| *byte == b'\n');
    let mut table = Lines::new();
    for line in lines.filter(|line| line.contains(&b':')) {
        table.entry(account_name(line)).or_default().push(line);
    }
    table
}

/// What a plan tells of groups.
#[derive(Debug, Default)]
pub struct Groups {
    names: BTreeMap<u32, String>,
    /// Those that it makes, but for groups that are close to root.
    made: BTreeSet<u32>,
}

impl Groups {
    /// Adds the table of groups that this is, if it is one.
    pub fn add(&mut self, view: &View<'_>) {
        if AccountFile::at(view.entry.path.as_bytes()) != Some(AccountFile::Group) {
            return;
        }
        let ids = |table: Option<_>| {
            let lines = <[u8]>::split(table.unwrap_or_default(), |byte| *byte == b'\n');
            lines.filter_map(|line| Some((account_id(line, 2)?, line)))
        };
        let is_known = view.old.is_some() || view.entry.change.base().is_none();
        let old: BTreeSet<u32> = ids(view.old).map(|(gid, _)| gid).collect();
        for (gid, line) in ids(view.new) {
            let group = Subject::new(account_name(line), false);
            if is_known && !old.contains(&gid) && group.standing == Standing::New {
                self.made.insert(gid);
            }
            self.names.entry(gid).or_insert(group.name);
        }
    }

    /// Names the first group of an account. Returns false for what says nothing: a new account in a group that is as new.
    pub fn explain(&self, risk: &mut Risk) -> bool {
        let Risk::FirstGroup {
            account,
            gid,
            group,
        } = risk
        else {
            return true;
        };
        *group = self.names.get(gid).cloned();
        account.standing != Standing::New || !self.made.contains(gid)
    }
}
