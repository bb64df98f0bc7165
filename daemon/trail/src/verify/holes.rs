//! Numbers that were skipped. They are told at the end: their records may only stand elsewhere.

use super::{PENDING, Verifier};
use crate::entry::Parsed;
use crate::report::{Finding, Kind, records};

/// Records that did not come where they should have.
#[derive(Clone, Debug)]
pub(super) struct Hole {
    first: u64,
    last: u64,
    /// How many records were read when it was seen.
    at: u64,
    place: String,
    why: Why,
    /// The record that came instead.
    next: u64,
}

/// What may have become of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Missing,
    /// The daemon was killed while it wrote.
    Doubt,
    /// Not yet on the disk when the machine went down.
    Lost,
}

impl Hole {
    pub(super) fn is_of(&self, seq: u64) -> bool {
        (self.first..=self.last).contains(&seq)
    }
}

impl Verifier {
    /// `first..=last` are not where they should be, before `next`. Whether any is missing.
    pub(super) fn skip(&mut self, first: u64, last: u64, next: &Parsed, place: &str) -> bool {
        let after = next.after.is_some();
        let lost_from = next.synced.unwrap_or(0).saturating_add(1);
        let (doubted, doubted_to) = next.doubt.unwrap_or((u64::MAX, 0));
        // In pieces, each for one reason and without those that came early.
        let mut from = first;
        let mut any = false;
        while from <= last {
            if self.seen.contains_key(&from) {
                from += 1;
                continue;
            }
            if let Some((first, last)) = self.excused
                && (first..=last).contains(&from)
            {
                from = last.saturating_add(1);
                continue;
            }
            if let Some(hole) = self.holes.iter().find(|hole| hole.is_of(from)) {
                from = hole.last.saturating_add(1);
                continue;
            }
            let (why, to) = if (doubted..=doubted_to).contains(&from) {
                (Why::Doubt, doubted_to)
            } else if after && from >= lost_from {
                (Why::Lost, doubted.saturating_sub(1))
            } else {
                let lost_from = if after { lost_from } else { u64::MAX };
                (Why::Missing, lost_from.min(doubted).saturating_sub(1))
            };
            // What the doubted or lost ones begin with may lie before.
            let to = if to < from { last } else { to.min(last) };
            let early = self.seen.range(from..=to).next().map(|(seq, _)| seq - 1);
            let to = early.unwrap_or(to);
            let known = self.holes.iter().map(|hole| hole.first);
            let to = known
                .filter(|hole| *hole > from)
                .map(|hole| hole - 1)
                .fold(to, u64::min);
            let excused = self.excused.map(|(first, _)| first);
            let to = excused
                .filter(|first| *first > from)
                .map_or(to, |first| to.min(first - 1));
            any = true;
            self.hole(from, to, why, next.seq, place);
            from = to.saturating_add(1);
        }
        any
    }

    fn hole(&mut self, first: u64, last: u64, why: Why, next: u64, place: &str) {
        if self.holes.len() >= PENDING {
            let oldest = self.holes.remove(0);
            self.tell_hole(oldest);
        }
        self.holes.push(Hole {
            first,
            last,
            at: self.records,
            place: place.to_owned(),
            why,
            next,
        });
    }

    /// These came after all, or never were. Whether any was missing.
    pub(super) fn fill(&mut self, first: u64, last: u64) -> bool {
        if self.holes.is_empty() {
            return false;
        }
        let mut any = false;
        for hole in std::mem::take(&mut self.holes) {
            if hole.last < first || last < hole.first {
                self.holes.push(hole);
                continue;
            }
            any = true;
            if hole.first < first {
                let last = first - 1;
                self.holes.push(Hole {
                    last,
                    ..hole.clone()
                });
            }
            if last < hole.last {
                let first = last + 1;
                self.holes.push(Hole { first, ..hole });
            }
        }
        any
    }

    /// What was missing between these is looked for once more.
    pub(super) fn forget(&mut self, first: u64, last: u64) {
        self.holes
            .retain(|hole| hole.why != Why::Missing || hole.first < first || last < hole.last);
    }

    /// The end came while a record stood too early, and those before it never came.
    pub(super) fn close(&mut self) {
        let (Some(last), Some((highest, hash))) = (self.last, self.seen.last_key_value()) else {
            return;
        };
        let (seq, hash) = (*highest, *hash);
        if seq <= last.seq {
            return;
        }
        let mut first = last.seq + 1;
        while first < seq {
            let excused = self
                .excused
                .filter(|(from, to)| (*from..=*to).contains(&first));
            if let Some((_, to)) = excused {
                first = to.saturating_add(1);
                continue;
            }
            if self.seen.contains_key(&first) || self.holes.iter().any(|hole| hole.is_of(first)) {
                first += 1;
                continue;
            }
            let next = self.seen.range(first..).next().map_or(seq, |(seq, _)| *seq);
            self.hole(first, next - 1, Why::Missing, next, "the end");
            first = next;
        }
        self.last = Some(super::Known {
            seq,
            hash: Some(hash),
        });
    }

    pub(super) fn tell_hole(&mut self, hole: Hole) {
        let those = records(hole.first, hole.last);
        let (verb, it) = if hole.first == hole.last {
            ("is", "it")
        } else {
            ("are", "they")
        };
        match hole.why {
            Why::Missing => {
                let finding = Finding {
                    kind: Kind::Gap,
                    seq: hole.first,
                    last: hole.last,
                    text: format!("{those} {verb} missing before record {}", hole.next),
                    place: hole.place,
                };
                self.find_at(hole.at, finding);
            }
            Why::Doubt => {
                let text = format!(
                    "{those} {verb} not here: the daemon was killed while it wrote, and nothing was done by {}",
                    if it == "it" { "it" } else { "them" }
                );
                self.note(hole.first, text);
            }
            Why::Lost => {
                let text = format!(
                    "{those} {verb} not here: the machine went down before {it} {} surely on the disk",
                    if it == "it" { "was" } else { "were" }
                );
                self.note(hole.first, text);
            }
        }
    }
}
