//! What is said of a trail.

use crate::Hash;

/// What the daemon, or somebody who noted it down, says a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Its number; 0: there is none yet.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
}

/// What is wrong with a trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind of wrong.
    pub kind: Kind,
    /// The number of the first record that is concerned.
    pub seq: u64,
    /// The last one, where there are several.
    pub last: u64,
    /// Where it was read, or where it should have been.
    pub place: String,
    /// One sentence for people.
    pub text: String,
}

/// Kinds of what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Records are missing.
    Gap,
    /// A record is not as it was written.
    Edit,
    /// A record stands where it does not belong.
    Order,
    /// A record is there twice.
    Double,
    /// The newest records are missing.
    Truncated,
    /// Two records claim the same number, or a chain begins anew.
    Fork,
    /// This is no record.
    Unreadable,
}

/// What is no fault, but worth a sentence: records that the daemon itself doubts, a beginning that was vacuumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The record that tells of it, or the first one.
    pub seq: u64,
    /// One sentence for people.
    pub text: String,
}

/// What became of a verification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Records read, also those that are wrong.
    pub records: u64,
    /// The first and the last number.
    pub range: Option<(u64, u64)>,
    /// The hash of the last one.
    pub last_hash: Option<Hash>,
    /// What is wrong, in order, the first [`Verifier::FINDINGS`](crate::Verifier::FINDINGS). Empty: the trail is whole.
    pub findings: Vec<Finding>,
    /// How many more there are.
    pub more_findings: u64,
    /// What is no fault, the first [`Verifier::NOTES`](crate::Verifier::NOTES).
    pub notes: Vec<Note>,
    /// How many more there are.
    pub more_notes: u64,
}

/// `record 7`, `records 7 to 9`
pub fn records(first: u64, last: u64) -> String {
    if first == last {
        format!("record {first}")
    } else {
        format!("records {first} to {last}")
    }
}
