//! What the verification remembers: the records before, and damaged ones, whose numbers the next intact record tells.

use std::collections::BTreeMap;

use crate::Parsed;
use crate::{Expected, Finding, Hash, Kind, Note};

/// Takes records one by one in file order, in bounded memory. After a finding it continues from what the surrounding
/// records say: two swapped records are one finding, and so is a chain that starts again.
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
    pub(super) expected: Vec<Expected>,
    /// Numbers of expected records that are older than the beginning.
    pub(super) uncompared: Vec<u64>,
    /// The first record only leads to those to verify: the log may begin before it.
    pub(super) is_continued: bool,
    /// Lowest number of [`Self::take_earlier`], and those of its records that are expected.
    pub(super) earliest: Option<u64>,
    pub(super) earlier: BTreeMap<u64, Vec<Hash>>,
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
    /// Hash of the record `base`. `None` if the first record is damaged.
    pub(super) prev: Option<Hash>,
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

impl Verifier {
    pub(super) fn suspect(
        &mut self,
        record: Option<Parsed>,
        kind: Kind,
        why: &'static str,
        position: &str,
    ) {
        self.suspects.push(Suspect {
            record,
            kind,
            why,
            at: self.records,
            position: position.to_owned(),
        });
        if self.suspects.len() >= PENDING {
            self.number_last_suspects(None);
        }
    }

    /// Assigns numbers from `last + 1` to `upper` to the suspects before `next`. Returns true if records are missing.
    pub(super) fn number_suspects(
        &mut self,
        last: u64,
        upper: u64,
        next: Option<&Parsed>,
        position: &str,
    ) -> bool {
        let suspects = std::mem::take(&mut self.suspects);
        let before = self.last.and_then(|last| last.hash);
        let numbers = numbers(last, before, upper, &suspects, next);
        let mut missing_from = last + 1;
        let mut any = false;
        let base = next.map_or(upper, Parsed::base);
        for (number, suspect) in numbers.into_iter().zip(suspects) {
            let record = suspect.record;
            self.tell_suspect(suspect, number);
            let follows = record.is_some_and(|r| Some(r.prev) == before);
            if number > missing_from && !follows {
                let next = record.as_ref().or(next);
                if let Some(next) = next {
                    any |= self.skip(missing_from, (number - 1).min(base), next, position);
                }
            }
            missing_from = missing_from.max(number + 1);
            if let Some(record) = record {
                self.remember(number, record.claimed);
            }
        }
        if let Some(next) = next.filter(|_| missing_from <= base) {
            any |= self.skip(missing_from, base, next, position);
        }
        any
    }

    /// Settles the suspects that no intact record follows.
    pub(super) fn number_last_suspects(&mut self, newest: Option<Expected>) {
        let Some(suspect) = self.suspects.last() else {
            return;
        };
        let last = self.last.map_or(0, |last| last.seq);
        let claims = suspect.record.filter(|r| r.seq > last);
        let is_believed = |r: &Parsed| self.last.is_none() || r.after.is_some();
        let so_many = last + self.suspects.len() as u64;
        let is_newest = |newest: &Expected| {
            let hashes = suspect.record.map(|r| r.hashes());
            hashes.is_some_and(|hashes| hashes.contains(&newest.hash))
        };
        let known = newest.filter(is_newest).map(|newest| newest.seq);
        let claimed = claims.filter(is_believed).map(|r| r.seq);
        let doubted = suspect.record.as_ref().and_then(follows_doubt);
        let upper = known
            .or(claimed)
            .or(doubted)
            .map_or(so_many, |seq| seq.max(so_many));
        let hash = suspect.record.map(|r| r.claimed);
        let from = match self.last {
            Some(_) => last,
            None => upper - self.suspects.len() as u64,
        };
        let position = suspect.position.clone();
        self.number_suspects(from, upper, None, &position);
        self.last = Some(Known { seq: upper, hash });
        if self.begin.is_none() {
            self.begin = Some(Begin {
                seq: from + 1,
                base: from,
                prev: None,
                sure: from,
            });
        }
    }

    fn tell_suspect(&mut self, suspect: Suspect, number: u64) {
        let Suspect { kind, why, .. } = suspect;
        let is = if kind == Kind::Edit {
            "not as it was written"
        } else {
            "no record"
        };
        let text = format!("record {number} is {is}: {why}");
        let finding = Finding {
            kind,
            seq: number,
            last: number,
            position: suspect.position,
            text,
        };
        self.find_at(suspect.at, finding);
    }
}

/// Assigns a number to each suspect, by position if the counts match, then neighbors, own claim, next number.
fn numbers(
    last: u64,
    before: Option<Hash>,
    upper: u64,
    suspects: &[Suspect],
    next: Option<&Parsed>,
) -> Vec<u64> {
    let count = suspects.len() as u64;
    // Records that may never have been written take no number as long as others are free.
    let doubted = next.and_then(|next| next.doubt);
    let upper = match doubted {
        Some((first, to)) if to == upper && last + count < first => first - 1,
        _ => upper,
    };
    let mut before = before;
    let mut numbers = Vec::with_capacity(suspects.len());
    let mut at = last;
    for (index, suspect) in suspects.iter().enumerate() {
        let behind = count - 1 - index as u64;
        // Leaves a number for each later suspect.
        let highest = upper.saturating_sub(behind).max(last + 1);
        let is_base =
            |r: &Parsed| next.is_none_or(|next| behind == 0 && r.hashes().contains(&next.prev));
        let number = match &suspect.record {
            _ if at + 1 >= highest => highest,
            Some(record) if is_base(record) => next.map_or(highest, Parsed::base),
            Some(record) if record.seq == highest => highest,
            Some(record)
                if follows_doubt(record).is_some_and(|n| (at + 1..=highest).contains(&n)) =>
            {
                follows_doubt(record).unwrap_or(highest)
            }
            Some(record) if record.after.is_none() && before == Some(record.prev) => at + 1,
            Some(record) if (at + 1..=highest).contains(&record.seq) => record.seq,
            // The record follows skipped numbers, and its number is what was changed.
            Some(record) if record.after.is_some() => highest,
            _ => at + 1,
        };
        at = number.max(at);
        before = suspect.record.map(|record| record.claimed);
        numbers.push(number);
    }
    numbers
}

fn follows_doubt(record: &Parsed) -> Option<u64> {
    let (_, last) = record.doubt.filter(|_| record.after.is_none())?;
    last.checked_add(1)
}
