//! Verifies the records of one machine as a collector received them: a sender may repeat records, and what an earlier
//! verification saw must still be there.

use std::collections::HashSet;

use remit_trail::Hash;

use crate::{Entry, Expected, Finding, Kind, Parsed, Read, Report, Verifier, records};

/// What an earlier verification kept of a machine's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The newest record.
    pub newest: Expected,
    /// A person accepted everything up to this record, whatever was found in it.
    pub accepted: Option<Expected>,
}

/// Whether the records continue what an earlier verification saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// There was no earlier verification.
    Unknown,
    /// The remembered record is here, or the first one here follows it.
    Kept,
    /// Another record has the number of the remembered one.
    Rewritten,
    /// The records end before the remembered one.
    Ends {
        last: u64,
    },
    /// The records begin after the remembered one, and do not follow it.
    Begins {
        first: u64,
    },
    /// The remembered record is not among its neighbors.
    Missing,
    NoRecords,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectedReport {
    /// Without repeated records, and without those up to an accepted one.
    pub report: Report,
    pub past: Past,
    /// Number of records that came again, unchanged.
    pub repeated: u64,
    /// Number of records that were not judged, because a later one was accepted.
    pub accepted: u64,
    /// The newest record by its arrival.
    pub newest: Option<Expected>,
}

/// Takes records in the order in which the collector wrote them, in bounded memory.
#[derive(Debug)]
pub struct Collected {
    remembered: Option<Remembered>,
    verifier: Verifier,
    begin: Option<FirstRecord>,
    /// Records from before the beginning that came late: sent again after the collector had removed them.
    late: Option<Verifier>,
    /// They lead to the beginning.
    is_joined: bool,
    seen: Seen,
    taken: u64,
    repeated: u64,
    accepted: u64,
    newest: Option<Expected>,
    is_kept: bool,
    is_other: bool,
}

/// The first record, and the one before it that it names.
#[derive(Clone, Copy, Debug)]
struct FirstRecord {
    seq: u64,
    before: Expected,
    /// The one before it may never have been written.
    is_doubted: bool,
}

impl Collected {
    #[must_use]
    pub fn new(remembered: Option<Remembered>) -> Self {
        Self {
            remembered,
            verifier: Verifier::default(),
            begin: None,
            late: None,
            is_joined: false,
            seen: Seen::default(),
            taken: 0,
            repeated: 0,
            accepted: 0,
            newest: None,
            is_kept: false,
            is_other: false,
        }
    }

    /// Takes the next record. Returns false if it is the repetition of an earlier one.
    pub fn take(&mut self, entry: &Entry) -> bool {
        if let Read::Whole(record) = entry.read()
            && (record.computed == record.claimed || record.is_older)
        {
            // By content: a repetition with another REMIT_HASH says nothing new.
            if !self.seen.insert(record.computed) {
                self.repeated += 1;
                return false;
            }
            self.note(&record);
            if let Some(begin) = self.begin
                && record.seq < begin.seq
            {
                let is_before =
                    (record.seq, record.claimed) == (begin.before.seq, begin.before.hash);
                self.is_joined |= is_before || begin.is_doubted;
                self.late.get_or_insert_default().take(entry);
                self.taken += 1;
                return true;
            }
        }
        self.verifier.take(entry);
        self.taken += 1;
        true
    }

    fn note(&mut self, record: &Parsed) {
        let this = Expected {
            seq: record.seq,
            hash: record.claimed,
        };
        self.newest = Some(this);
        if let Some(Remembered { newest, accepted }) = self.remembered {
            self.compare(record, this, newest, accepted);
        }
        self.begin.get_or_insert(FirstRecord {
            seq: record.seq,
            before: Expected {
                seq: record.base(),
                hash: record.prev,
            },
            is_doubted: record.sure() < record.base(),
        });
    }

    fn compare(
        &mut self,
        record: &Parsed,
        this: Expected,
        newest: Expected,
        accepted: Option<Expected>,
    ) {
        let follows = record.base() == newest.seq && record.prev == newest.hash;
        self.is_kept |= this == newest || follows;
        self.is_other |= this.seq == newest.seq && this.hash != newest.hash;
        if accepted == Some(this) {
            // The verification begins here. Repetitions of what came before are still known.
            self.verifier = Verifier::default();
            (self.begin, self.late, self.is_joined) = (None, None, false);
            self.accepted = self.taken;
        }
    }

    #[must_use]
    pub fn finish(mut self) -> CollectedReport {
        let mut report = std::mem::take(&mut self.verifier).finish(None);
        if (self.accepted > 0 || self.late.is_some())
            && let Some(begin) = self.begin
        {
            // It says that earlier records are not here, and they are.
            report.notes.retain(|note| note.seq != begin.seq);
        }
        if let (Some(late), Some(begin)) = (self.late.take(), self.begin) {
            let mut late = late.finish(None);
            if let Some((first, last)) = late.range.filter(|_| !self.is_joined) {
                let text = format!(
                    "{} came after record {} and do not lead to it: a new chain, or another past",
                    records(first, last),
                    begin.seq
                );
                late.findings.insert(
                    0,
                    Finding {
                        kind: Kind::Fork,
                        seq: first,
                        last,
                        position: String::new(),
                        text,
                    },
                );
            }
            join(&mut report, late);
        }
        CollectedReport {
            past: self.past(report.range),
            report,
            repeated: self.repeated,
            accepted: self.accepted,
            newest: self.newest,
        }
    }

    fn past(&self, range: Option<(u64, u64)>) -> Past {
        let Some(Remembered { newest, .. }) = self.remembered else {
            return Past::Unknown;
        };
        match range {
            _ if self.is_kept => Past::Kept,
            _ if self.is_other => Past::Rewritten,
            None => Past::NoRecords,
            Some((_, last)) if newest.seq > last => Past::Ends { last },
            Some((first, _)) if newest.seq < first => Past::Begins { first },
            Some(_) => Past::Missing,
        }
    }
}

/// Puts the records before a beginning in front of the others.
fn join(report: &mut Report, mut late: Report) {
    report.records += late.records;
    if let (Some((first, _)), Some((_, last))) = (late.range, report.range) {
        report.range = Some((first.min(last), last));
    }
    late.findings.append(&mut report.findings);
    report.findings = late.findings;
    report.more_findings += late.more_findings;
    late.notes.append(&mut report.notes);
    report.notes = late.notes;
    report.more_notes += late.more_notes;
}

/// Number of records in one half of [`Seen`]. A repetition of more than that is reported as records out of order.
const HALF: usize = 1 << 19;

/// Hashes of the newest records, in two halves: when one is full, the older is forgotten. Half a hash is enough: whoever
/// finds two records with the same one may repeat the first, and nothing else.
#[derive(Debug, Default)]
struct Seen {
    newer: HashSet<[u8; 16]>,
    older: HashSet<[u8; 16]>,
}

impl Seen {
    /// Returns false if it is known.
    fn insert(&mut self, hash: Hash) -> bool {
        let mut half = [0; 16];
        half.copy_from_slice(hash.split_at(16).0);
        if self.older.contains(&half) || !self.newer.insert(half) {
            return false;
        }
        if self.newer.len() >= HALF {
            self.older = std::mem::take(&mut self.newer);
        }
        true
    }
}
