//! Which files of units a machine has.

use std::collections::{BTreeMap, BTreeSet};

use crate::path::FilePath;

/// Where units and drop-ins lie.
#[derive(Debug, Default)]
pub struct Layout {
    /// The first file of each name, in the order of the directories.
    pub files: BTreeMap<String, FilePath>,
    /// Names that are links to another unit in the same tree.
    pub drop_ins: BTreeMap<String, BTreeMap<Vec<u8>, FilePath>>,
    /// Units in `NAME.wants` and `NAME.requires`.
    pub wanted: BTreeSet<String>,
}
