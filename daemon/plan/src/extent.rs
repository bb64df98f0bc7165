//! Where a plan changes something, for a comparison with other plans.
//!
//! **Invariant:** no path of the plan is outside. Its size is bounded, whatever the plan has.

use remit_common::escape;

use crate::{PATH_DEPTH, PathTree, Plan};

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
    Within(PathTree),
}

impl Extent {
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let cut = |parts| {
            let paths = plan
                .entries()
                .iter()
                .map(|entry| entry.path.first_parts(parts));
            let tree: PathTree = paths.collect();
            let bytes: usize = tree.paths().map(|path| path.as_bytes().len()).sum();
            (tree.paths().count() <= PATHS && bytes <= BYTES).then_some(Self::Within(tree))
        };
        cut(PATH_DEPTH).or_else(|| cut(PARTS)).unwrap_or_default()
    }

    /// Returns the first path of this one that is a path of the other, or lies above or beneath one, as words.
    #[must_use]
    pub fn common(&self, other: &Self) -> Option<String> {
        let (Self::Within(one), Self::Within(other)) = (self, other) else {
            return Some("too many to compare, or not known".to_owned());
        };
        let is_common = |path: &_| other.holds(path) || other.has_beneath(path);
        let path = one.paths().find(|path| is_common(path))?;
        Some(format!("'{}'", escape::in_quotes(path.as_bytes(), SHOWN)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Change, Entry, Metadata, New, PlanPath};

    fn extent<T: AsRef<str>>(paths: impl IntoIterator<Item = T>) -> Extent {
        let meta = Metadata {
            mode: 0o755,
            uid: 0,
            gid: 0,
        };
        let entry = |path: T| Entry {
            path: PlanPath::new(path.as_ref()).unwrap(),
            change: Change::Create {
                new: New::Directory,
                meta,
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
        assert!(Extent::Everywhere.common(&one).is_some());
        let none = Extent::Within(PathTree::default());
        assert!(none.common(&one).is_none() && one.common(&none).is_none());
    }

    #[test]
    fn of_very_many_paths_the_first_parts_count() {
        let many = extent((0..=PATHS).map(|at| format!("/usr/share/doc/{at}")));
        assert!(many.common(&extent(["/usr/share/man/x"])).is_some());
        assert!(many.common(&extent(["/usr/lib/x"])).is_none());
        let wide = extent((0..=PATHS).map(|at| format!("/srv/{at}/x")));
        assert_eq!(wide, Extent::Everywhere);
    }
}
