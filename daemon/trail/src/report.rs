//! Result of a verification.

use crate::Hash;

/// A record that must exist, from the daemon or from a person's note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Record number; 0 if there is none yet.
    pub seq: u64,
    /// Record hash.
    pub hash: Hash,
}

/// A fault in an audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Kind of fault.
    pub kind: Kind,
    /// Number of the first affected record.
    pub seq: u64,
    /// Number of the last affected record.
    pub last: u64,
    /// Position where it was read or expected.
    pub position: String,
    /// Description, one sentence.
    pub text: String,
}

/// Kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Records are missing.
    Gap,
    /// A record was changed.
    Edit,
    /// A record is in the wrong position.
    Order,
    /// A record occurs twice.
    Double,
    /// The newest records are missing.
    Truncated,
    /// Two records have the same number, or a chain starts again.
    Fork,
    /// The entry is not a record.
    Unreadable,
}

/// A note that is not a fault: records that the daemon itself doubts, or a beginning that was vacuumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Record that the note is about, or the first one.
    pub seq: u64,
    /// Description, one sentence.
    pub text: String,
}

/// Result of a verification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Number of records read, including wrong ones.
    pub records: u64,
    /// First and last record number.
    pub range: Option<(u64, u64)>,
    /// Hash of the last record.
    pub last_hash: Option<Hash>,
    /// The first [`Verifier::FINDINGS`](crate::Verifier::FINDINGS) faults in order. Empty: the audit log is intact.
    pub findings: Vec<Finding>,
    /// Number of further faults.
    pub more_findings: u64,
    /// The first [`Verifier::NOTES`](crate::Verifier::NOTES) notes.
    pub notes: Vec<Note>,
    /// Number of further notes.
    pub more_notes: u64,
}

pub fn records(first: u64, last: u64) -> String {
    if first == last {
        format!("record {first}")
    } else {
        format!("records {first} to {last}")
    }
}
