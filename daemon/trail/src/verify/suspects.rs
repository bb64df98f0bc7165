//! Records that are not as they were written. Their numbers are known when the next good one comes.

use super::{Known, PENDING, Verifier};
use crate::Hash;
use crate::entry::Parsed;
use crate::report::{Expected, Finding, Kind};

#[derive(Clone, Debug)]
pub(super) struct Suspect {
    /// What it says, where it says anything.
    record: Option<Parsed>,
    kind: Kind,
    why: &'static str,
    at: u64,
    place: String,
}

impl Suspect {
    /// Whether `next` names it as the one before; where it says anything.
    pub(super) fn links(&self, next: &Parsed) -> Option<bool> {
        self.record.map(|r| r.hashes().contains(&next.prev))
    }
}

impl Verifier {
    pub(super) fn suspect(
        &mut self,
        record: Option<Parsed>,
        kind: Kind,
        why: &'static str,
        place: &str,
    ) {
        self.suspects.push(Suspect {
            record,
            kind,
            why,
            at: self.records,
            place: place.to_owned(),
        });
        if self.suspects.len() >= PENDING {
            self.settle_end(None);
        }
    }

    /// Gives numbers from `last + 1` to `upper` to those that were not as they were written, before `next`, and tells of
    /// what is missing there. Whether anything is.
    pub(super) fn settle(
        &mut self,
        last: u64,
        upper: u64,
        next: Option<&Parsed>,
        place: &str,
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
                    any |= self.skip(missing_from, (number - 1).min(base), next, place);
                }
            }
            missing_from = missing_from.max(number + 1);
            if let Some(record) = record {
                self.remember(number, record.claimed);
            }
        }
        if let Some(next) = next.filter(|_| missing_from <= base) {
            any |= self.skip(missing_from, base, next, place);
        }
        any
    }

    /// Those behind which no good record comes.
    pub(super) fn settle_end(&mut self, newest: Option<Expected>) {
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
        let place = suspect.place.clone();
        self.settle(from, upper, None, &place);
        self.last = Some(Known { seq: upper, hash });
        if self.begin.is_none() {
            self.begin = Some(super::Begin {
                seq: from + 1,
                base: from,
                prev: [0; 32],
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
            place: suspect.place,
            text,
        };
        self.find_at(suspect.at, finding);
    }
}

/// A number for each: what the place says where there are as many places, else what the records around it say, else what
/// it claims, else the next place.
fn numbers(
    last: u64,
    before: Option<Hash>,
    upper: u64,
    suspects: &[Suspect],
    next: Option<&Parsed>,
) -> Vec<u64> {
    let count = suspects.len() as u64;
    // Those that may never have been written are no places, as long as there are others.
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
        // So many places are left for those behind it.
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
            // Behind skipped numbers, whose number is what is wrong.
            Some(record) if record.after.is_some() => highest,
            _ => at + 1,
        };
        at = number.max(at);
        before = suspect.record.map(|record| record.claimed);
        numbers.push(number);
    }
    numbers
}

/// The number of a record behind those that it doubts.
fn follows_doubt(record: &Parsed) -> Option<u64> {
    let (_, last) = record.doubt.filter(|_| record.after.is_none())?;
    last.checked_add(1)
}
