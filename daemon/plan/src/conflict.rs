//! Paths that are not what a commit or an undo expects there, as far as lstat(2) shows it.

use std::collections::BTreeSet;
use std::io;

use crate::PlanPath;
use crate::journal::Journal;
use crate::plan::{Entry, New, Plan, Stat};
use crate::step::Direction;

/// A path that is not what the plan or the commit has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub path: PlanPath,
    pub why: &'static str,
}

impl Plan {
    /// Returns the first path at which a commit would be refused. `look` returns what is at a path, `None` if nothing is; a path
    /// at which it fails is no conflict.
    pub fn conflict(
        &self,
        look: impl FnMut(&PlanPath) -> io::Result<Option<Stat>>,
    ) -> Option<Conflict> {
        let rows = self.entries().iter().map(|entry| (entry, 0));
        first(rows, Direction::Commit, look)
    }
}

impl Journal {
    /// Returns the first path at which an undo would be refused; `look` as in [`Plan::conflict`]. New directories, and what is in
    /// them, are no conflict: they may stay, or go with all that is in them. Nor is a path that an earlier undo may have undone.
    pub fn conflict(
        &self,
        look: impl FnMut(&PlanPath) -> io::Result<Option<Stat>>,
    ) -> Option<Conflict> {
        let entries = self.plan.entries();
        let is_new = |entry: &&Entry| entry.change.makes() == Some(New::Directory);
        let new = entries.iter().filter(is_new);
        let new: BTreeSet<&[u8]> = new.map(|entry| entry.path.as_bytes()).collect();
        let is_in_new = |path: &PlanPath| {
            let mut above = path.ancestors();
            new.contains(path.as_bytes()) || above.any(|above| new.contains(above))
        };
        let rows = entries.iter().zip(self.inodes.iter().copied());
        let rows = rows.filter(|(entry, _)| !is_in_new(&entry.path));
        first(rows, Direction::Undo, look)
    }
}

fn first<'a>(
    mut rows: impl Iterator<Item = (&'a Entry, u64)>,
    direction: Direction,
    mut look: impl FnMut(&PlanPath) -> io::Result<Option<Stat>>,
) -> Option<Conflict> {
    rows.find_map(|(Entry { path, change }, inode)| {
        let now = look(path).ok()?;
        // What its slot has then.
        let slotted = change.makes().map(|_| inode);
        let may_be_undone = || change.is_undone(inode, now.as_ref(), slotted);
        if direction == Direction::Undo && may_be_undone() {
            return None;
        }
        let why = change.difference(direction, inode, now.as_ref())?;
        let path = path.clone();
        Some(Conflict { path, why })
    })
}
