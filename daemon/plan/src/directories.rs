//! Directories of a plan as its commit had them. An undo or a recovery acts in no others.
//!
//! Device numbers and most identifiers of file systems change over a reboot. A number of an inode lasts on every file system that a
//! commit accepts, and is used again once its directory is removed. The time at which a directory was made lasts, too, and
//! no program can set it. Modes and owners are left out, as root may change them: but without that time the owner has to be the
//! same one, or root.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::Plan;

/// What differs between two directories that have the same path at different times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectoryId {
    pub ino: u64,
    /// When it was made, in nanoseconds since 1970; 0 if its file system does not keep it.
    pub born_ns: u64,
    pub uid: u32,
}

/// A directory in which a commit acted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanDirectory {
    pub own: DirectoryId,
    /// Where its file system was mounted: the length of that path in bytes, and its root. `None` if that cannot be absent.
    pub mount: Option<(usize, DirectoryId)>,
}

/// Directories by path.
pub type PlanDirectories = BTreeMap<Vec<u8>, PlanDirectory>;

impl DirectoryId {
    const BYTES: usize = 24;

    /// Returns true if `now` is this directory.
    #[must_use]
    pub const fn is_same(&self, now: &Self) -> bool {
        let is_owner = now.uid == self.uid || now.uid == 0;
        self.is_numbered(now) && (self.born_ns != 0 || is_owner)
    }

    /// Returns true if `now` has the number and the time of this directory.
    #[must_use]
    pub const fn is_numbered(&self, now: &Self) -> bool {
        self.ino == now.ino && self.born_ns == now.born_ns
    }

    fn words(&self) -> [u64; 3] {
        [self.ino, self.born_ns, u64::from(self.uid)]
    }

    fn from_words(ino: u64, born_ns: u64, uid: u64) -> Self {
        let uid = u32::try_from(uid).unwrap_or(u32::MAX);
        Self { ino, born_ns, uid }
    }
}

impl PlanDirectory {
    /// Bytes of one in a journal.
    pub const BYTES: usize = 2 * DirectoryId::BYTES + 8;

    fn row(one: Option<&Self>) -> impl Iterator<Item = u8> {
        let own = one.map(|one| one.own).unwrap_or_default();
        let (length, root) = one.and_then(|one| one.mount).unwrap_or_default();
        let words = own.words().into_iter().chain([length as u64]);
        words.chain(root.words()).flat_map(u64::to_le_bytes)
    }

    /// `None`: zeros, as it was not made yet.
    fn from_row(row: &[u8; Self::BYTES]) -> Option<Self> {
        let (words, _) = row.as_chunks();
        let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
        let mut next = || words.next().unwrap_or_default();
        let own = DirectoryId::from_words(next(), next(), next());
        let length = usize::try_from(next()).unwrap_or(usize::MAX);
        let root = DirectoryId::from_words(next(), next(), next());
        let mount = (length != 0).then_some((length, root));
        (own.ino != 0).then_some(Self { own, mount })
    }
}

/// Returns the paths of the directories in which a commit of the plan acts.
pub fn parents(plan: &Plan) -> BTreeSet<&[u8]> {
    let paths = plan.entries().iter().map(|entry| entry.path.parent());
    paths.collect()
}

/// Returns a row for each directory of the plan, by path.
pub fn encode(plan: &Plan, directories: &PlanDirectories) -> Vec<u8> {
    let rows = parents(plan).into_iter().map(|path| directories.get(path));
    rows.flat_map(PlanDirectory::row).collect()
}

/// Returns the directories that have a row of their own in the first bytes, and what comes after these bytes.
pub fn decode<'a>(plan: &Plan, bytes: &'a [u8]) -> Option<(PlanDirectories, &'a [u8])> {
    let paths = parents(plan);
    let (rows, rest) = bytes.split_at_checked(PlanDirectory::BYTES * paths.len())?;
    let (rows, _) = rows.as_chunks();
    let known = paths.into_iter().zip(rows).filter_map(|(path, row)| {
        let one = PlanDirectory::from_row(row)?;
        Some((path.to_vec(), one))
    });
    Some((known.collect(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_is_the_same_by_number_and_time_or_by_number_and_owner() {
        let id = |ino, born_ns, uid| DirectoryId { ino, born_ns, uid };
        for (known, now, expect) in [
            (id(7, 5, 0), id(7, 5, 0), true),
            // Root has made it that of a user.
            (id(7, 5, 0), id(7, 5, 1000), true),
            // Its number is used again.
            (id(7, 5, 0), id(7, 6, 0), false),
            (id(7, 5, 0), id(8, 5, 0), false),
            (id(7, 5, 0), id(7, 0, 0), false),
            (id(7, 0, 0), id(7, 0, 0), true),
            (id(7, 0, 0), id(7, 0, 1000), false),
            (id(7, 0, 1000), id(7, 0, 1000), true),
            (id(7, 0, 1000), id(7, 0, 0), true),
            (id(7, 0, 1000), id(7, 0, 1001), false),
        ] {
            assert_eq!(known.is_same(&now), expect, "{known:?} {now:?}");
        }
    }

    #[test]
    fn row_has_all_of_a_directory() {
        let own = DirectoryId {
            ino: 1 << 40,
            born_ns: u64::MAX,
            uid: u32::MAX,
        };
        for one in [
            None,
            Some(PlanDirectory { own, mount: None }),
            Some(PlanDirectory {
                own,
                mount: Some((5, DirectoryId { ino: 2, ..own })),
            }),
        ] {
            let row: Vec<u8> = PlanDirectory::row(one.as_ref()).collect();
            let row = row
                .first_chunk()
                .filter(|_| row.len() == PlanDirectory::BYTES);
            assert_eq!(row.map(PlanDirectory::from_row), Some(one));
        }
    }
}
