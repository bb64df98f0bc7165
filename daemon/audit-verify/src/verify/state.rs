//! What the verification remembers of the records before.

use std::collections::BTreeMap;

use crate::entry::Parsed;
use crate::report::{Finding, Kind, Note};
use crate::{Expected, Hash};

/// Takes records one by one in file order and uses bounded memory.
///
/// After a finding it continues from what the surrounding records say, so that later findings are correct. Two
/// swapped records are one finding, and so is a chain that starts again.
#[derive(Debug, Default)]
pub struct Verifier {
    pub(super) records: u64,
    pub(super) begin: Option<Begin>,
    /// Record with the highest number so far, or the record that the chain continues from after a finding.
    pub(super) last: Option<Known>,
    pub(super) seen: BTreeMap<u64, Hash>,
    pub(super) holes: Vec<Hole>,
    pub(super) suspects: Vec<Suspect>,
    /// An open jump over numbers. The record at its end may have come too early.
    pub(super) jump: Option<Jump>,
    /// Numbers that a record which came too early declared as skipped.
    pub(super) excused: Option<(u64, u64)>,
    /// A second record with a known number. The chain may continue from it.
    pub(super) branch: Option<Known>,
    pub(super) findings: Vec<(u64, Finding)>,
    pub(super) more_findings: u64,
    pub(super) notes: Vec<Note>,
    pub(super) more_notes: u64,
    /// First and last record whose hash was computed differently.
    pub(super) older: Option<(u64, u64)>,
    pub(super) has_newer: bool,
    pub(super) expected: Vec<Expected>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) seq: u64,
    /// `None` if the record could not be read.
    pub(super) hash: Option<Hash>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Begin {
    pub(super) seq: u64,
    pub(super) base: u64,
    pub(super) prev: Hash,
    /// The newest earlier record that was surely written.
    pub(super) sure: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Jump {
    pub(super) from: Known,
    pub(super) to: u64,
    /// `REMIT_AFTER` of the record at `to`.
    pub(super) after: Option<u64>,
}

#[derive(Clone, Debug)]
pub(super) struct Hole {
    pub(super) first: u64,
    pub(super) last: u64,
    /// Number of records read when the hole was found.
    pub(super) at: u64,
    pub(super) position: String,
    pub(super) why: Why,
    pub(super) next: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Missing,
    /// The daemon was killed while it wrote.
    Doubt,
    /// Not yet on disk when the machine crashed.
    Lost,
}

impl Hole {
    pub(super) fn is_of(&self, seq: u64) -> bool {
        (self.first..=self.last).contains(&seq)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Suspect {
    pub(super) record: Option<Parsed>,
    pub(super) kind: Kind,
    pub(super) why: &'static str,
    pub(super) at: u64,
    pub(super) position: String,
}

impl Suspect {
    /// Returns true if `next` refers to it as its predecessor; `None` if it could not be read.
    pub(super) fn links(&self, next: &Parsed) -> Option<bool> {
        self.record.map(|r| r.hashes().contains(&next.prev))
    }
}

/// Number of kept holes, and of kept suspects, before they are reported.
pub(super) const PENDING: usize = 64;
