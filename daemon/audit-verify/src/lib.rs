//! Verifies that the records of an audit log are complete, ordered and unchanged. `remit audit verify` reads with it.
//! The code is pure. The root process does not link it.

#![forbid(unsafe_code)]

mod entry;
mod verify;

pub use remit_trail::Expected;
use remit_trail::Hash;

pub use entry::Entry;
pub use verify::Verifier;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub kind: Kind,
    /// The first affected record.
    pub seq: u64,
    pub last: u64,
    /// Where it was read or expected.
    pub position: String,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gap,
    Edit,
    /// A record is in the wrong position.
    Order,
    Double,
    Truncated,
    /// Two records have the same number, or a chain starts again.
    Fork,
    Unreadable,
}

/// A note that is not a fault: records that the daemon itself doubts, or a beginning that was vacuumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub seq: u64,
    pub text: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Including wrong ones.
    pub records: u64,
    /// First and last.
    pub range: Option<(u64, u64)>,
    pub last_hash: Option<Hash>,
    /// The first [`Verifier::FINDINGS`](crate::Verifier::FINDINGS) faults in order. Empty: the audit log is intact.
    pub findings: Vec<Finding>,
    pub more_findings: u64,
    /// The first [`Verifier::NOTES`](crate::Verifier::NOTES) notes.
    pub notes: Vec<Note>,
    pub more_notes: u64,
}

pub fn records(first: u64, last: u64) -> String {
    if first == last {
        format!("record {first}")
    } else {
        format!("records {first} to {last}")
    }
}
