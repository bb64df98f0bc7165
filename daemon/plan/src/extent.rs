//! Where a plan changes something, for a comparison with other plans.
//!
//! **Invariant:** no path of the plan is outside. Its size is bounded, whatever the plan has.

use std::collections::BTreeMap;

use remit_common::escape;

use crate::path_tree::first_beneath;
use crate::{Change, Entry, PathTree, Plan, PlanPath};

/// Paths, and bytes of them all. Of more only the first parts count.
const PATHS: usize = 4096;
const BYTES: usize = 256 << 10;
/// Parts of a path that count then, as in `/usr/lib`.
const PARTS: usize = 2;
/// Bytes of a path in a sentence.
const SHOWN: usize = 200;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// Not known, or too many paths.
    #[default]
    Everywhere,
    Within(ChangedPaths),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangedPaths {
    tree: PathTree,
    /// Only owner, group or mode changes: what lies beneath is not changed. By [`PlanPath::tree_key`].
    metadata: BTreeMap<Vec<u8>, PlanPath>,
    /// The paths are first parts of those that change.
    is_cut: bool,
}

impl Extent {
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let within = |paths: ChangedPaths| {
            let all = || paths.tree.paths().chain(paths.metadata.values());
            let bytes: usize = all().map(|path| path.as_bytes().len()).sum();
            (all().count() <= PATHS && bytes <= BYTES).then_some(Self::Within(paths))
        };
        let entries = plan.entries();
        let first_parts = |entry: &Entry| entry.path.first_parts(PARTS);
        let cut = || ChangedPaths {
            tree: entries.iter().map(first_parts).collect(),
            metadata: BTreeMap::new(),
            is_cut: true,
        };
        within(ChangedPaths::new(entries))
            .or_else(|| within(cut()))
            .unwrap_or_default()
    }

    /// Nothing is changed.
    #[must_use]
    pub fn none() -> Self {
        Self::Within(ChangedPaths::default())
    }

    /// Returns the first path of this one that is a path of the other, or lies above or beneath one, as words about this
    /// one: it need not have the path itself if it has very many.
    #[must_use]
    pub fn common(&self, other: &Self) -> Option<String> {
        let (Self::Within(one), Self::Within(other)) = (self, other) else {
            return Some("too many to compare, or not known".to_owned());
        };
        let path = one.common(other)?;
        let shown = escape::in_quotes(path.as_bytes(), SHOWN);
        Some(match one.is_cut {
            true => format!("very many, some at or beneath '{shown}'"),
            false => format!("'{shown}'"),
        })
    }
}

impl ChangedPaths {
    fn new(entries: &[Entry]) -> Self {
        let is_metadata = |entry: &&Entry| matches!(entry.change, Change::SetMetadata { .. });
        let (metadata, others): (Vec<_>, Vec<_>) = entries.iter().partition(is_metadata);
        let path = |entry: &Entry| entry.path.clone();
        let by_key = |entry: &Entry| (entry.path.tree_key(), entry.path.clone());
        Self {
            tree: others.into_iter().map(path).collect(),
            metadata: metadata.into_iter().map(by_key).collect(),
            is_cut: false,
        }
    }

    fn common(&self, other: &Self) -> Option<&PlanPath> {
        let is_changed = |path: &PlanPath| {
            let key = path.tree_key();
            other.tree.holds(path) || other.metadata.contains_key(&key)
        };
        let has_changed_beneath = |path: &PlanPath| {
            let key = path.tree_key();
            other.tree.has_beneath(path) || first_beneath(&other.metadata, &key).is_some()
        };
        let mut of_tree = self.tree.paths();
        let of_tree = of_tree.find(|path| is_changed(path) || has_changed_beneath(path));
        of_tree.or_else(|| self.metadata.values().find(|path| is_changed(path)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Base, Kind, Metadata, New, OldCapabilities, Stat};

    const META: Metadata = Metadata {
        mode: 0o755,
        uid: 0,
        gid: 0,
    };

    fn extent<T: AsRef<str>>(paths: impl IntoIterator<Item = T>) -> Extent {
        let entry = |path: T| Entry {
            path: PlanPath::new(path.as_ref()).unwrap(),
            change: Change::Create {
                new: New::Directory,
                meta: META,
            },
        };
        Extent::new(&Plan::new(paths.into_iter().map(entry).collect()).unwrap())
    }

    #[test]
    fn paths_above_beneath_and_the_same_are_common() {
        let one = extent(["/etc/ssh/keys", "/srv/a"]);
        for (path, is_common) in [
            ("/etc/ssh/keys", true),
            ("/etc/ssh", true),
            ("/etc/ssh/keys/a", true),
            ("/etc/ssh/keys.d", false),
            ("/etc/ssh/key", false),
            ("/srv/b", false),
        ] {
            let other = extent([path]);
            assert_eq!(other.common(&one).is_some(), is_common, "{path}");
            assert_eq!(one.common(&other).is_some(), is_common, "{path}");
        }
        assert_eq!(one.common(&one).unwrap(), "'/etc/ssh/keys'");
        assert_eq!(one.common(&extent(["/etc"])).unwrap(), "'/etc/ssh/keys'");
        assert!(Extent::Everywhere.common(&one).is_some());
        let none = Extent::none();
        assert!(none.common(&one).is_none() && one.common(&none).is_none());
    }

    #[test]
    fn metadata_of_a_directory_is_not_what_lies_beneath_it() {
        let metadata = |paths: &[&str]| {
            let stat = Stat {
                kind: Kind::Directory,
                dev: 1,
                ino: 1,
                ctime_ns: 0,
                size: 0,
                meta: META,
            };
            let entry = |path: &&str| Entry {
                path: PlanPath::new(*path).unwrap(),
                change: Change::SetMetadata {
                    base: Base {
                        stat,
                        sha256: None,
                        capabilities: OldCapabilities::default(),
                    },
                    meta: Metadata {
                        mode: 0o700,
                        ..META
                    },
                },
            };
            Extent::new(&Plan::new(paths.iter().map(entry).collect()).unwrap())
        };
        let one = metadata(&["/srv", "/srv/a/b"]);
        for (path, is_common) in [
            ("/srv", true),
            ("/srv/a", true),
            ("/srv/a/b", true),
            ("/srv/a/b/c", false),
            ("/srv/c", false),
        ] {
            for (other, is_common) in [
                (extent([path]), is_common),
                (metadata(&[path]), is_common && path != "/srv/a"),
            ] {
                assert_eq!(other.common(&one).is_some(), is_common, "{path}");
                assert_eq!(one.common(&other).is_some(), is_common, "{path}");
            }
        }
    }

    #[test]
    fn of_very_many_paths_the_first_parts_count() {
        let many = extent((0..=PATHS).map(|at| format!("/usr/share/doc/{at}")));
        let one = extent(["/usr/share/man/x"]);
        let words = "very many, some at or beneath '/usr/share'";
        assert_eq!(many.common(&one).unwrap(), words);
        assert_eq!(one.common(&many).unwrap(), "'/usr/share/man/x'");
        assert!(many.common(&extent(["/usr/lib/x"])).is_none());
        let wide = extent((0..=PATHS).map(|at| format!("/srv/{at}/x")));
        assert_eq!(wide, Extent::Everywhere);
    }
}
