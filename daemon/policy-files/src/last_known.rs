//! Names of a policy and their ids at an earlier load. A name that is temporarily unknown still denies those ids.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastKnown {
    pub users: BTreeMap<String, u32>,
    pub groups: BTreeMap<String, u32>,
    /// By gid: the members of groups that a denial names, with their uids.
    pub members: BTreeMap<u32, BTreeMap<String, u32>>,
}
