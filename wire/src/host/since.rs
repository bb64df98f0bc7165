//! Types of the answer to `host` with `since`: what of the machine changed between two snapshots.

use remit_common::names::JobId;
use serde::{Deserialize, Serialize};

use super::{Gap, List};

/// The earlier of the two snapshots that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Since {
    /// The last one at or before this time, in milliseconds since 1970. The other is the present.
    Time(u64),
    /// The first one after the boot. The other is the present.
    Boot,
    /// The last one before this job of the caller. The other is the first after it.
    Job(JobId),
}

/// Which snapshot.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotMark {
    /// When, in seconds since 1970.
    pub time: u64,
    /// Why it was taken, such as `start`, `daily`, `before a change`.
    pub reason: String,
    /// The machine has booted since.
    pub of_earlier_boot: bool,
}

/// What changed between two snapshots.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostChanges {
    pub from: SnapshotMark,
    pub to: SnapshotMark,
    /// Number of changes of all sections.
    pub total: u64,
    /// Only sections that have changes.
    pub sections: Vec<SectionChanges>,
    /// What was not compared, and why.
    pub gaps: Vec<Gap>,
}

/// What changed in a section.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionChanges {
    /// As `packages`, `files` or `units`.
    pub section: String,
    pub changes: List<HostChange>,
}

/// One thing that was added, removed or changed.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostChange {
    /// As a path, or the name of a package, account or unit.
    pub name: String,
    /// Null where it was added.
    pub before: Option<String>,
    /// Null where it was removed.
    pub after: Option<String>,
    /// Jobs that could change the host and ran when this changed: an id, `job of another user`, or that it is not known.
    /// None: it was changed outside of remit.
    pub by: Vec<String>,
}
