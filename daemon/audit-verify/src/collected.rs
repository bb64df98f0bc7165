//! Verifies the records of one machine as a collector received them: a sender may repeat records, and what an earlier
//! verification saw must still be there.

use std::collections::HashSet;

use remit_trail::Hash;

use crate::{Entry, Expected, Finding, Kind, Note, Parsed, Read, Report, Verifier, records};

/// What an earlier verification kept of a machine's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The newest record.
    pub newest: Expected,
    /// A person accepted everything up to this record, whatever was found in it.
    pub accepted: Option<Arrived>,
}

/// A record where the collector has it. Sent again, the same record has another position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    pub record: Expected,
    pub position: String,
}

/// Whether the records continue what an earlier verification saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// There was no earlier verification.
    Unknown,
    /// The remembered record is here, or the first one here follows it, or skips or doubts all between them.
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
    /// The record that the first one names. `None` if records from before the beginning came late.
    pub before: Option<Expected>,
    pub past: Past,
    /// Number of records that came again, unchanged.
    pub repeated: u64,
    /// Number of records that were not judged, because a later one was accepted.
    pub accepted: u64,
    /// The newest record by its arrival: of those sent again from before the beginning only if they do not lead to it.
    pub newest: Option<Arrived>,
}

/// Takes records in the order in which the collector wrote them, in bounded memory.
#[derive(Debug)]
pub struct Collected {
    remembered: Option<Remembered>,
    verifier: Verifier,
    begin: Option<FirstRecord>,
    /// Records from before the beginning that came late: sent again after the collector had removed them.
    late: Option<Late>,
    number: u16,
    taken: u64,
    repeated: u64,
    accepted: u64,
    newest: Option<Arrived>,
    is_kept: bool,
    is_other: bool,
    /// The first record says that what came between the remembered one and itself was skipped or may not be written.
    is_excused: bool,
}

#[derive(Debug)]
struct Late {
    verifier: Verifier,
    taken: u64,
    /// They lead to the beginning.
    is_joined: bool,
    newest: Option<Arrived>,
    /// Nothing came after it.
    is_newest: bool,
}

/// The first record, and the one before it that it names.
#[derive(Clone, Copy, Debug)]
struct FirstRecord {
    seq: u64,
    before: Expected,
    /// Number of the newest record before it that was surely written.
    sure: u64,
}

impl Collected {
    /// `number` tells this machine's records from those of others in the same [`Seen`].
    #[must_use]
    pub fn new(remembered: Option<Remembered>, number: u16) -> Self {
        Self {
            remembered,
            verifier: Verifier::default(),
            begin: None,
            late: None,
            number,
            taken: 0,
            repeated: 0,
            accepted: 0,
            newest: None,
            is_kept: false,
            is_other: false,
            is_excused: false,
        }
    }

    /// Takes the next record. Returns false if it is the repetition of an earlier one.
    pub fn take(&mut self, entry: &Entry, seen: &mut Seen) -> bool {
        if let Read::Whole(record) = entry.read()
            && record.computed == record.claimed
        {
            if !seen.insert(self.number, record.computed) {
                self.repeated += 1;
                return false;
            }
            let this = Expected {
                seq: record.seq,
                hash: record.claimed,
            };
            let arrived = Arrived {
                record: this,
                position: entry.position.clone(),
            };
            let is_judged = self.restart(&arrived);
            let begin = self.begin.filter(|begin| record.seq < begin.seq);
            if !is_judged {
                self.is_excused |= self.begin.is_none() && self.is_excused_by(entry, &record);
                self.compare(&record, this, begin.is_some());
            }
            if let Some(begin) = begin {
                // The beginning is not the first record any more.
                self.is_excused = false;
                let late = self.late.get_or_insert_with(Late::new);
                late.take(entry, arrived, begin);
                return true;
            }
            self.begin.get_or_insert(FirstRecord::of(&record));
            self.newest = Some(arrived);
            if let Some(late) = &mut self.late {
                late.is_newest = false;
            }
        }
        self.verifier.take(entry);
        self.taken += 1;
        true
    }

    /// The verification begins at an accepted record where that was accepted. Repetitions of what came before are still
    /// known. Sent again, the record is one like others: what came before it may be newer than what was accepted. Returns
    /// true if the remembered record was judged by it.
    fn restart(&mut self, this: &Arrived) -> bool {
        let Some(Remembered { newest, accepted }) = &self.remembered else {
            return false;
        };
        if accepted.as_ref() != Some(this) {
            return false;
        }
        (self.is_kept, self.is_other) = (this.record == *newest, false);
        self.is_excused = false;
        self.accepted += self.taken + self.late.take().map_or(0, |late| late.taken);
        self.verifier = Verifier::default();
        (self.begin, self.taken) = (None, 0);
        true
    }

    fn compare(&mut self, record: &Parsed, this: Expected, is_late: bool) {
        let Some(Remembered { newest, .. }) = self.remembered else {
            return;
        };
        let before = match is_late {
            true => self.late.as_ref().and_then(|late| late.newest.as_ref()),
            false => self.newest.as_ref(),
        };
        // After a higher number, that it follows the remembered one is its own word alone.
        let is_first = before.is_none_or(|before| before.record.seq < newest.seq);
        let follows = is_first && record.base() == newest.seq && record.prev == newest.hash;
        self.is_kept |= this == newest || follows;
        self.is_other |= this.seq == newest.seq && this.hash != newest.hash;
    }

    /// Returns true if `entry` is after the remembered record and excuses everything between them. One that names the number
    /// of the remembered record excuses nothing: it must have its hash.
    fn is_excused_by(&self, entry: &Entry, record: &Parsed) -> bool {
        self.remembered
            .as_ref()
            .is_some_and(|Remembered { newest, .. }| {
                record.seq > newest.seq
                    && record.base() != newest.seq
                    && entry.missing_after(newest.seq).is_none()
            })
    }

    #[must_use]
    pub fn finish(mut self) -> CollectedReport {
        let verifier = std::mem::take(&mut self.verifier);
        let mut report = verifier.finish(None);
        let late = self.late.take();
        let before = self.begin.filter(|_| late.is_none());
        if (self.accepted > 0 || late.is_some())
            && let Some(begin) = self.begin
        {
            // It says that earlier records are not here, and they are.
            report.notes.retain(|note| note.seq != begin.seq);
        }
        if self.is_excused
            && !(self.is_kept || self.is_other)
            && let (Some(begin), Some(Remembered { newest, .. })) = (self.begin, &self.remembered)
        {
            report.notes.push(Note {
                seq: begin.seq,
                text: format!(
                    "record {} skips or doubts what came after record {}, which was verified and is not here any more: \
                     that it follows that one is not proven",
                    begin.seq, newest.seq
                ),
            });
        }
        let mut newest = self.newest.take();
        if let (Some(late), Some(begin)) = (late, self.begin) {
            let (late, of_another_chain) = late.finish(begin);
            newest = of_another_chain.or(newest);
            join(&mut report, late);
        }
        CollectedReport {
            past: self.past(report.range),
            report,
            before: before.map(|begin| begin.before),
            repeated: self.repeated,
            accepted: self.accepted,
            newest,
        }
    }

    fn past(&self, range: Option<(u64, u64)>) -> Past {
        let Some(Remembered { newest, .. }) = self.remembered else {
            return Past::Unknown;
        };
        match range {
            _ if self.is_other => Past::Rewritten,
            _ if self.is_kept || self.is_excused => Past::Kept,
            None => Past::NoRecords,
            Some((_, last)) if newest.seq > last => Past::Ends { last },
            Some((first, _)) if newest.seq < first => Past::Begins { first },
            Some(_) => Past::Missing,
        }
    }
}

impl FirstRecord {
    fn of(record: &Parsed) -> Self {
        Self {
            seq: record.seq,
            before: Expected {
                seq: record.base(),
                hash: record.prev,
            },
            sure: record.sure(),
        }
    }

    /// Returns true if it may follow a record with this number that is not the one that it names.
    fn may_follow(&self, seq: u64) -> bool {
        self.sure <= seq && seq < self.before.seq
    }
}

impl Late {
    fn new() -> Self {
        Self {
            verifier: Verifier::default(),
            taken: 0,
            is_joined: false,
            newest: None,
            is_newest: true,
        }
    }

    fn take(&mut self, entry: &Entry, this: Arrived, begin: FirstRecord) {
        self.is_joined |= this.record == begin.before;
        (self.newest, self.is_newest) = (Some(this), true);
        self.taken += 1;
        self.verifier.take(entry);
    }

    /// Returns the report, and the newest record if it is of a chain that does not lead to the beginning.
    fn finish(self, begin: FirstRecord) -> (Report, Option<Arrived>) {
        let mut report = self.verifier.finish(None);
        let Some((first, last)) = report.range.filter(|_| !self.is_joined) else {
            return (report, None);
        };
        let those = format!("{} came after record {}", records(first, last), begin.seq);
        if begin.may_follow(last) {
            report.notes.push(Note {
                seq: first,
                text: format!(
                    "{those}, which doubts the record before it: that they are the ones before it is not proven"
                ),
            });
            return (report, None);
        }
        let text = format!("{those} and do not lead to it: a new chain, or another past");
        let fork = Finding {
            kind: Kind::Fork,
            seq: first,
            last,
            position: String::new(),
            text,
        };
        report.findings.insert(0, fork);
        (report, self.newest.filter(|_| self.is_newest))
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

/// Hashes of the newest records of all machines of a host, in two halves: when one is full, the older is forgotten. Half a hash is enough: whoever
/// finds two records with the same one may repeat the first, and nothing else.
#[derive(Debug, Default)]
pub struct Seen {
    newer: HashSet<(u16, [u8; 16])>,
    older: HashSet<(u16, [u8; 16])>,
}

impl Seen {
    /// Returns false if it is known.
    fn insert(&mut self, machine: u16, hash: Hash) -> bool {
        let mut half = [0; 16];
        half.copy_from_slice(hash.split_at(16).0);
        let half = (machine, half);
        if self.older.contains(&half) || !self.newer.insert(half) {
            return false;
        }
        if self.newer.len() >= HALF {
            self.older = std::mem::take(&mut self.newer);
        }
        true
    }
}
