//! Whether records are all there, in order, and as they were written.

use crate::Hash;

/// A record as it was read, as far as it counts here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// `MESSAGE`, `MESSAGE_ID`, `PRIORITY` and all `REMIT_` fields, names whole, in any order.
    pub fields: Vec<(String, String)>,
    /// Where it was read, for findings: `line 7`, or a journal cursor.
    pub place: String,
}

/// What the daemon says the newest record is.
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
    /// Records read.
    pub records: u64,
    /// The first and the last number.
    pub range: Option<(u64, u64)>,
    /// The hash of the last one.
    pub last_hash: Option<Hash>,
    /// What is wrong, in order, the first [`Verifier::FINDINGS`]. Empty: the trail is whole.
    pub findings: Vec<Finding>,
    /// How many more there are.
    pub more_findings: u64,
    /// What is no fault.
    pub notes: Vec<Note>,
}

/// Takes records one by one in the order in which they stand, and keeps a fixed amount of memory.
#[derive(Debug, Default)]
pub struct Verifier {
    report: Report,
}

impl Verifier {
    /// Findings told one by one.
    pub const FINDINGS: usize = 20;

    /// Takes the next record.
    pub fn take(&mut self, entry: &Entry) {
        let _ = entry;
        self.report.records += 1;
    }

    /// All records were taken. `expected`: the head that the daemon keeps, where it is known.
    #[must_use]
    pub fn finish(self, expected: Option<Expected>) -> Report {
        let _ = expected;
        self.report
    }
}
