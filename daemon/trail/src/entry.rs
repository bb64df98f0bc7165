//! One record as it was read.

use crate::report::Kind;
use crate::{Hash, hash, unhex};

/// A record as it was read, as far as it counts here. One without fields is something that could not be read as one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// `MESSAGE`, `MESSAGE_ID`, `PRIORITY` and all `REMIT_` fields, names whole, in any order.
    pub fields: Vec<(String, String)>,
    /// Where it was read, for findings: `line 7`, or a journal cursor.
    pub place: String,
}

/// A record that says of itself where it belongs.
#[derive(Clone, Copy, Debug)]
pub struct Parsed {
    /// 0: it does not say.
    pub seq: u64,
    pub prev: Hash,
    /// What it says its hash is.
    pub claimed: Hash,
    /// What its hash is.
    pub computed: Hash,
    /// The numbers between this one and its own were never used, or the machine lost them when it went down.
    pub after: Option<u64>,
    /// Of those, the ones up to here were on the disk.
    pub synced: Option<u64>,
    /// Records that may never have been written, the first and the last.
    pub doubt: Option<(u64, u64)>,
    /// Of a remit whose hashes were computed in another way.
    pub is_older: bool,
}

/// What an entry is.
pub enum Read {
    /// A record as it was written, as far as it alone can tell.
    Whole(Parsed),
    /// One that is not, with what it says where it says anything.
    Wrong(Option<Parsed>, Kind, &'static str),
}

impl Parsed {
    /// The number of the record whose hash is its PREV.
    pub fn base(&self) -> u64 {
        self.after.unwrap_or(self.seq.saturating_sub(1))
    }

    /// The newest record before it that was surely written.
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
    pub(crate) fn read(&self) -> Read {
        let value = |name: &str| {
            let found = self.fields.iter().find(|(n, _)| n == name);
            found.map(|(_, value)| value.as_str())
        };
        let place = value("REMIT_SEQ").and_then(number).filter(|seq| *seq > 0);
        let prev = value("REMIT_PREV").and_then(unhex);
        let claimed = value("REMIT_HASH").and_then(unhex);
        let mut names: Vec<&str> = self.fields.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        let is_twice = names.windows(2).any(|pair| pair.first() == pair.last());
        if self.fields.is_empty() {
            return Read::Wrong(None, Kind::Unreadable, "it cannot be read");
        }
        let hashed = self.fields.iter().filter(|(name, _)| is_hashed(name));
        let after = value("REMIT_AFTER").map(number);
        let doubt = value("REMIT_DOUBT").map(range);
        let hashed = hashed.map(|(name, value)| (name.as_str(), value.as_str()));
        let computed = hash(hashed);
        let seq = place.unwrap_or(0);
        let is_before = |number: &u64| place.is_none_or(|seq| *number < seq);
        let parsed = Parsed {
            seq,
            prev: prev.unwrap_or([0; 32]),
            claimed: claimed.unwrap_or(computed),
            computed,
            after: after.flatten().filter(is_before),
            synced: value("REMIT_SYNCED").and_then(number),
            // Of a record that was changed, the number may be what is wrong.
            doubt: doubt
                .flatten()
                .filter(|(_, last)| claimed != Some(computed) || is_before(last)),
            is_older: value("REMIT_TIME").is_none() && value("REMIT_BOOT").is_none(),
        };
        if place.is_none() || prev.is_none() || claimed.is_none() {
            let why = "it has no number, no hash or no hash of the record before";
            Read::Wrong(Some(parsed), Kind::Unreadable, why)
        } else if is_twice {
            Read::Wrong(Some(parsed), Kind::Edit, "a field stands in it twice")
        } else {
            Read::Whole(parsed)
        }
    }
}

/// Whether a field counts for the hash.
fn is_hashed(name: &str) -> bool {
    matches!(name, "MESSAGE" | "MESSAGE_ID" | "PRIORITY")
        || (name.starts_with("REMIT_") && name != "REMIT_HASH")
}

/// What no daemon comes to: who counts on from a number need not look out for the end of them.
const MOST: u64 = u64::MAX >> 1;

/// A number as the daemon writes it, and in no other way.
fn number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number <= MOST && number.to_string() == text).then_some(number)
}

/// `12`, or `12-14`
fn range(text: &str) -> Option<(u64, u64)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}
