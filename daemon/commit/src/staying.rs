//! Directories of the commit in which others have made something since: an undo leaves them at their path, and names them.
//!
//! **Invariant:** such a directory keeps its mode and owner, which may be others than at the commit.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;

use libc::{O_DIRECTORY, O_NOFOLLOW, O_RDONLY};
use nix::dir::Dir;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use remit_common::escape;
use remit_plan::{Kind, staying};
use remit_sys::sys;

use crate::tree::{Operation, about};

/// Directories that are named, names of one, and bytes of a name.
const NAMED: usize = 64;
const NAMES: usize = 3;
const NAME: usize = 100;

/// Splits off the operations of the directories that stay in an undo of all these.
pub fn split(operations: Vec<Operation<'_>>) -> (Vec<Operation<'_>>, Vec<Operation<'_>>) {
    let entries = operations.iter().map(|one| (one.at, one.entry));
    let positions: BTreeMap<usize, &Operation<'_>> =
        operations.iter().map(|one| (one.at, one)).collect();
    let stays = staying(entries, |at| Some(positions.get(&at)?.names().ok()??.0));
    operations
        .into_iter()
        .partition(|one| stays.contains(&one.at))
}

/// Returns a line for each of these directories.
pub fn lines<'a, 'b: 'a>(staying: impl IntoIterator<Item = &'a Operation<'b>>) -> Vec<String> {
    let mut staying = staying.into_iter();
    let named = staying.by_ref().take(NAMED);
    let mut lines: Vec<String> = named.map(|one| about(one.entry, one.describe())).collect();
    let more = staying.count();
    if more > 0 {
        lines.push(format!("{more} more directories stay"));
    }
    lines
}

impl Operation<'_> {
    /// Returns true if it is a directory of the commit that others keep at its path.
    pub fn stays(&self) -> bool {
        let names = || self.names().ok().flatten();
        self.entry.may_stay() && names().is_some_and(|(count, _)| count > 0)
    }

    fn describe(&self) -> String {
        let meta = self.target().ok().flatten().map(|found| found.stat.meta);
        let meta = meta.map_or_else(String::new, |meta| {
            format!(
                ", with mode {:04o} and owner {}:{}",
                meta.mode, meta.uid, meta.gid
            )
        });
        let (count, names) = self.names().ok().flatten().unwrap_or_default();
        let shown: Vec<String> = names
            .iter()
            .map(|name| format!("'{}'", escape::in_quotes(name.to_bytes(), NAME)))
            .collect();
        let more = match count.saturating_sub(shown.len()) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let names = shown.join(", ");
        format!("it stays{meta}, as something else is in it: {names}{more}")
    }

    /// Counts the names in the directory of the commit, and returns the first ones. `None` if another one is at the path.
    fn names(&self) -> io::Result<Option<(usize, BTreeSet<CString>)>> {
        let is_own = self.target()?.is_some_and(|found| {
            found.stat.kind == Kind::Directory && found.stat.ino == self.inode
        });
        let Some(parent) = self.parent.as_ref().filter(|_| is_own) else {
            return Ok(None);
        };
        let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
        let directory = sys::open_plain(parent.as_fd(), &self.name, flags)?;
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut listing = Dir::openat(&directory, c".", flags, Mode::empty())?;
        let (mut count, mut names) = (0, BTreeSet::new());
        for entry in listing.iter() {
            let name = entry?.file_name().to_owned();
            if [c".", c".."].contains(&name.as_c_str()) {
                continue;
            }
            count += 1;
            names.insert(name);
            if names.len() > NAMES {
                names.pop_last();
            }
        }
        Ok(Some((count, names)))
    }
}
