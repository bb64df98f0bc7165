//! The plan of a check that runs in a copy of the machine, as its child lays it into the copy. [`crate::Staged`] carries it.

use std::ffi::CString;

use serde::{Deserialize, Serialize};

use crate::{Owner, StagedList};

/// Maximum uploads of a plan: a user cannot have more.
pub const UPLOADS: usize = 64;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaidPlan {
    /// Absolute paths of uploaded bytes. Only their hash is believed.
    pub uploads: Vec<CString>,
    /// In the order in which a commit makes them.
    pub entries: Vec<LaidEntry>,
}

impl StagedList for LaidPlan {}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaidEntry {
    /// Relative to the root, without `.`, `..` or empty parts.
    pub path: CString,
    /// What the plan has found there. `None`: nothing.
    pub before: Option<LaidKind>,
    pub what: LaidAs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LaidKind {
    File,
    Directory,
    Link,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LaidAs {
    Gone,
    /// It stays, with this owner and mode.
    Metadata(Owner),
    Directory(Owner),
    File {
        owner: Owner,
        bytes: LaidBytes,
        /// The attribute `security.capability`.
        capabilities: Option<Vec<u8>>,
        /// Time of the last write, in nanoseconds since 1970.
        mtime: Option<i64>,
    },
    /// A symbolic link. `start` and `length` say where its target is.
    Link {
        owner: Owner,
        start: u64,
        length: u64,
    },
    /// A table of passwords: `start` and `length` say where the changes of its lines are, `+LINE` for a new one, `-LINE` for one
    /// that goes, `<LINE` and `>LINE` for one before and after. Passwords stay, and are left out but for those of new lines.
    Lines {
        owner: Owner,
        start: u64,
        length: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaidBytes {
    /// Position in [`LaidPlan::uploads`], and the hash. `None`: they are beside the list.
    pub upload: Option<(u16, [u8; 32])>,
    pub start: u64,
    pub length: u64,
}
