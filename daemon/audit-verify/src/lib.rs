//! Verifies that the records of an audit log are complete, ordered and unchanged. Pure. The root process does not link it.
#![forbid(unsafe_code)]

mod collected;
mod verify;

use remit_trail::{HASH, Hash, hash, is_own, is_valid_name, unhex};

pub use collected::{Arrived, Collected, CollectedReport, Past, Remembered, Seen};
/// A record that must exist, from the daemon or from a person's note.
pub use remit_trail::Link as Expected;
pub use verify::Verifier;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub kind: Kind,
    pub seq: u64,
    pub last: u64,
    pub position: String,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gap,
    Edit,
    Order,
    Double,
    Truncated,
    /// Two records have the same number, or a chain starts again.
    Fork,
    Unreadable,
}

impl Kind {
    /// The word for it in texts and in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::Edit => "edit",
            Self::Order => "order",
            Self::Double => "double",
            Self::Truncated => "truncated",
            Self::Fork => "fork",
            Self::Unreadable => "unreadable",
        }
    }
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
    pub range: Option<(u64, u64)>,
    /// The number with which the audit log begins, if records before it are not here.
    pub late_begin: Option<u64>,
    /// Numbers of expected records that could not be compared, in order: they are older than the beginning.
    pub uncompared: Vec<u64>,
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

/// A record as read. An entry without fields could not be read as a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// `MESSAGE`, `MESSAGE_ID`, `PRIORITY` and all `REMIT_` fields, with full names, in any order.
    pub fields: Vec<(String, String)>,
    /// Source position for findings: `line 7`, or a journal cursor.
    pub position: String,
}

#[derive(Clone, Copy, Debug)]
pub struct Parsed {
    /// 0 if the record has no number.
    pub seq: u64,
    pub prev: Hash,
    pub claimed: Hash,
    pub computed: Hash,
    /// Numbers after this one and before its own were never used, or were lost in a crash of the machine.
    pub after: Option<u64>,
    /// Last number among those that was on disk.
    pub synced: Option<u64>,
    /// First and last of the records that may never have been written.
    pub doubt: Option<(u64, u64)>,
    /// Records without a number that were neither written nor kept.
    pub lost: Option<u64>,
}

pub enum Read {
    /// Consistent in itself.
    Whole(Parsed),
    /// Inconsistent, with the fields that could be read.
    Wrong(Option<Parsed>, Kind, &'static str),
}

impl Parsed {
    /// Returns the number of the record whose hash is its `REMIT_PREV`.
    pub fn base(&self) -> u64 {
        self.after.unwrap_or(self.seq.saturating_sub(1))
    }

    /// Returns the number of the newest earlier record that was surely written.
    pub fn sure(&self) -> u64 {
        match self.doubt {
            Some((first, last)) if last == self.base() => first.saturating_sub(1),
            _ => self.base(),
        }
    }

    pub fn doubts(&self, seq: u64) -> bool {
        self.doubt
            .is_some_and(|(first, last)| (first..=last).contains(&seq))
    }

    pub fn hashes(&self) -> [Hash; 2] {
        [self.claimed, self.computed]
    }
}

impl Entry {
    /// Returns the first and last number that are missing between the record `before` and this one, without those that it
    /// says were never used, lost in a crash or perhaps never written.
    #[must_use]
    pub fn missing_after(&self, before: u64) -> Option<(u64, u64)> {
        let (Read::Whole(record) | Read::Wrong(Some(record), ..)) = self.read() else {
            return None;
        };
        let (mut first, mut last) = (before.saturating_add(1), record.base());
        if record.after.is_some() {
            last = last.min(record.synced.unwrap_or(0));
        }
        if let Some((from, to)) = record.doubt {
            if from <= first {
                first = first.max(to + 1);
            }
            if last <= to {
                last = last.min(from.saturating_sub(1));
            }
        }
        (first <= last).then_some((first, last))
    }

    pub(crate) fn read(&self) -> Read {
        let value = |name: &str| {
            let found = self.fields.iter().find(|(n, _)| n == name);
            found.map(|(_, value)| value.as_str())
        };
        let position = value("REMIT_SEQ").and_then(number).filter(|seq| *seq > 0);
        let prev = value("REMIT_PREV").and_then(unhex);
        let claimed = value(HASH).and_then(unhex);
        let mut names: Vec<&str> = self.fields.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        let is_twice = names.windows(2).any(|pair| pair.first() == pair.last());
        if self.fields.is_empty() {
            return Read::Wrong(None, Kind::Unreadable, "it cannot be read");
        }
        let is_misnamed = |name: &str| is_own(name) && !is_valid_name(name);
        let is_hashed = |name: &str| is_valid_name(name) && name != HASH;
        let hashed = self.fields.iter().filter(|(name, _)| is_hashed(name));
        let after = value("REMIT_AFTER").map(number);
        let doubt = value("REMIT_DOUBT").map(range);
        let hashed = hashed.map(|(name, value)| (name.as_str(), value.as_str()));
        let computed = hash(hashed);
        let seq = position.unwrap_or(0);
        let is_before = |number: &u64| position.is_none_or(|seq| *number < seq);
        let parsed = Parsed {
            seq,
            prev: prev.unwrap_or([0; 32]),
            claimed: claimed.unwrap_or(computed),
            computed,
            after: after.flatten().filter(is_before),
            synced: value("REMIT_SYNCED").and_then(number),
            lost: value("REMIT_LOST").and_then(number),
            // In a changed record, its own number may be wrong.
            doubt: doubt
                .flatten()
                .filter(|(_, last)| claimed != Some(computed) || is_before(last)),
        };
        if position.is_none() || prev.is_none() || claimed.is_none() {
            let why = "it has no number, no hash or no hash of the record before";
            Read::Wrong(Some(parsed), Kind::Unreadable, why)
        } else if is_twice {
            Read::Wrong(Some(parsed), Kind::Edit, "a field is in it twice")
        } else if names.into_iter().any(is_misnamed) {
            let why = "a field has a name that the daemon never writes";
            Read::Wrong(Some(parsed), Kind::Edit, why)
        } else {
            Read::Whole(parsed)
        }
    }
}

/// No daemon reaches this number, so callers can add to a number without overflow.
const MOST: u64 = u64::MAX >> 1;

/// Parses a number only in the form that the daemon writes.
fn number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number <= MOST && number.to_string() == text).then_some(number)
}

/// Parses `12` or `12-14`.
fn range(text: &str) -> Option<(u64, u64)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}
