//! What an earlier walk has found in a part of a tree. It counts as long as nothing of that part has changed, which a worker
//! knows from the kernel: see `spawner::watch`.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;

use serde::{Deserialize, Serialize};

use crate::steps::changes::Changes;

/// A mounted directory whose file system is watched: where it is mounted, and what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct WatchedMount {
    pub(crate) at: Vec<u8>,
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

/// Directories of root: one, and all beneath it, if it is two beneath its mount; otherwise one alone. So a change costs no
/// more than a walk through such a part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Of its first directory: another one can have got its path without a report of anything in here.
    pub(crate) first: u64,
    /// Of its directories, and of all directories and regular files in these; sorted. What changes in the part, changes one.
    pub(crate) inodes: Vec<u64>,
    /// As the walk says it.
    pub(crate) hidden: Vec<u8>,
    /// Directories that others can write, and true if others own them: their contents are no part of this.
    pub(crate) of_others: Vec<(bool, Vec<u8>)>,
    /// Directories in this that are parts of their own, each with its inode.
    pub(crate) children: Vec<(Vec<u8>, u64)>,
}

impl Part {
    /// Returns true if one of these is of this part. They are sorted.
    pub(crate) fn has_any(&self, inodes: &[u64]) -> bool {
        let (few, many) = match self.inodes.len() < inodes.len() {
            true => (&self.inodes[..], inodes),
            false => (inodes, &self.inodes[..]),
        };
        few.iter().any(|inode| many.binary_search(inode).is_ok())
    }
}

/// Parts by their first directories, which are relative to the root of the machine.
pub(crate) type Known = BTreeMap<(WatchedMount, Vec<u8>), Part>;

/// What the worker of a child knew before it forked the child.
#[derive(Debug)]
pub(crate) struct Watched<'a> {
    pub(crate) known: &'a Known,
    pub(crate) watched_mounts: &'a [WatchedMount],
    /// Made before `known` was compared with the kernel's reports.
    pub(crate) changes: Changes,
    /// The worker's own, which its children close.
    pub(crate) group: BorrowedFd<'a>,
    /// The number of reports until then.
    pub(crate) reports: u64,
}

impl Watched<'_> {
    /// Returns false if the machine's mounts may be others than the worker's.
    pub(crate) fn is_right(&self) -> bool {
        self.changes.any().is_ok_and(|any| !any)
    }
}

/// Returns the first directory of the part in which a directory of a mount at `at` is.
pub(super) fn part_of<'a>(at: &[u8], directory: &'a [u8]) -> &'a [u8] {
    let start = if at.is_empty() { 0 } else { at.len() + 1 };
    let bytes = directory.iter().enumerate().skip(start);
    let mut slashes = bytes.filter(|(_, byte)| **byte == b'/');
    let end = slashes.nth(1).map_or(directory.len(), |(end, _)| end);
    directory.get(..end).unwrap_or(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_common_inode_is_enough() {
        let part = Part {
            inodes: vec![3, 5, 7],
            ..Part::default()
        };
        for (inodes, has) in [
            (&[][..], false),
            (&[5], true),
            (&[4], false),
            (&[1, 2, 4, 6, 8], false),
            (&[1, 2, 4, 6, 7, 8], true),
        ] {
            assert_eq!(part.has_any(inodes), has, "{inodes:?}");
        }
    }

    #[test]
    fn part_is_two_directories_beneath_its_mount() {
        for (at, directory, part) in [
            ("", "", ""),
            ("", "usr", "usr"),
            ("", "usr/lib", "usr/lib"),
            ("", "usr/lib/x/y", "usr/lib"),
            ("srv", "srv", "srv"),
            ("srv", "srv/a", "srv/a"),
            ("srv", "srv/a/b", "srv/a/b"),
            ("srv", "srv/a/b/c", "srv/a/b"),
            ("srv/a", "srv/a/b/c/d", "srv/a/b/c"),
        ] {
            let found = part_of(at.as_bytes(), directory.as_bytes());
            assert_eq!(found, part.as_bytes(), "{at} {directory}");
        }
    }
}
