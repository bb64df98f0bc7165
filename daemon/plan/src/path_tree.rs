//! Paths that are looked up for each entry of a plan, whatever their number.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};

use serde::{Deserialize, Serialize};

use crate::PlanPath;
use crate::path::is_beneath;

/// Paths of which none lies beneath another: one that would is left out. By the key of `PlanPath::tree_key`, so one step
/// in its order finds what is above a path, and one what is beneath it. Each ancestor would be too many: a stranger chooses
/// how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<PlanPath>", into = "Vec<PlanPath>")]
pub struct PathTree(BTreeMap<Vec<u8>, PlanPath>);

impl PathTree {
    pub fn insert(&mut self, path: PlanPath) {
        if self.holds(&path) {
            return;
        }
        let key = path.tree_key();
        while let Some(beneath) = first_beneath(&self.0, &key).cloned() {
            self.0.remove(&beneath);
        }
        self.0.insert(key, path);
    }

    /// Returns true if the path is one of these, or lies beneath one.
    #[must_use]
    pub fn holds(&self, path: &PlanPath) -> bool {
        let key = path.tree_key();
        // What follows a path in this order lies beneath it, up to the first that does not.
        let mut until = self.0.range::<[u8], _>((Unbounded, Included(&*key)));
        let before = until.next_back();
        before.is_some_and(|(own, _)| *own == key || is_beneath(&key, own))
    }

    /// Returns true if one of these lies beneath the path.
    #[must_use]
    pub fn has_beneath(&self, path: &PlanPath) -> bool {
        first_beneath(&self.0, &path.tree_key()).is_some()
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &PlanPath> {
        self.0.values()
    }
}

/// Returns the first of these keys of paths that lies beneath another.
pub(crate) fn first_beneath<'k>(
    paths: &'k BTreeMap<Vec<u8>, PlanPath>,
    key: &[u8],
) -> Option<&'k Vec<u8>> {
    let mut after = paths.range::<[u8], _>((Excluded(key), Unbounded));
    let (own, _) = after.next()?;
    is_beneath(own, key).then_some(own)
}

impl FromIterator<PlanPath> for PathTree {
    fn from_iter<T: IntoIterator<Item = PlanPath>>(paths: T) -> Self {
        let mut tree = Self::default();
        paths.into_iter().for_each(|path| tree.insert(path));
        tree
    }
}

impl From<Vec<PlanPath>> for PathTree {
    fn from(paths: Vec<PlanPath>) -> Self {
        paths.into_iter().collect()
    }
}

impl From<PathTree> for Vec<PlanPath> {
    fn from(tree: PathTree) -> Self {
        tree.0.into_values().collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path() -> impl Strategy<Value = PlanPath> {
        // Names that begin the same, with bytes below and above '/'.
        prop::string::string_regex("(/(a|a!|aa|b)){1,4}")
            .unwrap()
            .prop_map(|text| PlanPath::new(text).unwrap())
    }

    proptest! {
        #[test]
        fn lookups_are_those_of_a_list(own in prop::collection::vec(path(), 0..12), path in path()) {
            let tree: PathTree = own.iter().cloned().collect();
            let is_held = own.iter().any(|own| path.is_in(own.as_bytes()));
            prop_assert_eq!(tree.holds(&path), is_held);
            let has_in = own.iter().any(|own| own.is_in(path.as_bytes()));
            prop_assert_eq!(is_held || tree.has_beneath(&path), is_held || has_in);
            let same: PathTree = Vec::from(tree.clone()).into();
            prop_assert_eq!(same, tree);
        }
    }
}
