//! Skipped numbers, and records that must exist. They are reported at the end: their records may follow out of order.

use super::state::{Hole, Known, PENDING, Verifier, Why};
use crate::Parsed;
use crate::{Expected, Finding, Hash, Kind, records};

impl Verifier {
    /// Notes that `first..=last` are missing before `next`. Returns true if any of them was not known as missing.
    pub(super) fn skip(&mut self, first: u64, last: u64, next: &Parsed, position: &str) -> bool {
        let after = next.after.is_some();
        let lost_from = next.synced.unwrap_or(0).saturating_add(1);
        let (doubted, doubted_to) = next.doubt.unwrap_or((u64::MAX, 0));
        // Splits the range by reason and leaves out records that came early.
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
            // The doubted or lost numbers may begin before `from`.
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
            self.hole(from, to, why, next.seq, position);
            from = to.saturating_add(1);
        }
        any
    }

    fn hole(&mut self, first: u64, last: u64, why: Why, next: u64, position: &str) {
        if self.holes.len() >= PENDING {
            let oldest = self.holes.remove(0);
            self.tell_hole(oldest);
        }
        self.holes.push(Hole {
            first,
            last,
            at: self.records,
            position: position.to_owned(),
            why,
            next,
        });
    }

    /// Removes numbers from the holes: their records came later or never existed. Returns true if any was a hole.
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

    pub(super) fn forget(&mut self, first: u64, last: u64) {
        self.holes
            .retain(|hole| hole.why != Why::Missing || hole.first < first || last < hole.last);
    }

    /// Handles the end of the log after a record that came too early: the records before it are missing.
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
            // A hole may have 2^63 numbers.
            if let Some(hole) = self.holes.iter().find(|hole| hole.is_of(first)) {
                first = hole.last.saturating_add(1);
                continue;
            }
            if self.seen.contains_key(&first) {
                first += 1;
                continue;
            }
            let next = self.seen.range(first..).next().map_or(seq, |(seq, _)| *seq);
            self.hole(first, next - 1, Why::Missing, next, "the end");
            first = next;
        }
        self.last = Some(Known {
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
                    position: hole.position,
                };
                self.find_at(hole.at, finding);
            }
            Why::Doubt => {
                let text = format!(
                    "{those} {verb} not here: the daemon was killed while it wrote, and nothing was started by {}",
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

impl Verifier {
    pub(super) fn compare(&mut self, expected: Expected, hash: Hash) {
        let seq = expected.seq;
        if expected.hash != hash && !self.is_found(seq) {
            let text = format!("record {seq} is not the expected one: the log was rewritten");
            self.find(Kind::Fork, seq, seq, "", text);
        }
    }

    pub(super) fn tell_expected(&mut self) {
        let last = self.last.map_or(0, |last| last.seq);
        let begin = self.begin.map_or(0, |begin| begin.seq);
        let expected = std::mem::take(&mut self.expected);
        let newest = expected.iter().map(|expected| expected.seq).max();
        if let Some(newest) = newest.filter(|newest| *newest > last) {
            let text = match last {
                0 => format!("the log is empty, and the newest record is {newest}"),
                _ => format!(
                    "{} {} missing at the end",
                    records(last + 1, newest),
                    if newest > last + 1 { "are" } else { "is" }
                ),
            };
            self.find(Kind::Truncated, last + 1, newest, "the end", text);
        }
        for one in expected {
            let seq = one.seq;
            if seq < begin {
                self.tell_expected_earlier(one);
            } else if seq <= last && !self.is_found(seq) {
                let text = format!("record {seq} is expected, but missing");
                self.find(Kind::Gap, seq, seq, "", text);
            }
        }
    }

    /// Reports an expected record before the beginning, if it was not compared.
    fn tell_expected_earlier(&mut self, expected: Expected) {
        let seq = expected.seq;
        if let Some(hashes) = self.earlier.get(&seq) {
            // Another log of this machine, as before a new installation, may have the same number.
            let is_there = hashes.contains(&expected.hash);
            match hashes.iter().find(|hash| **hash != expected.hash).copied() {
                Some(_) if is_there => {
                    let text = format!(
                        "record {seq} is there twice, once with another content: verify the whole log"
                    );
                    self.note(seq, text);
                }
                Some(other) => self.compare(expected, other),
                None => {}
            }
            return;
        }
        // The first record has the hash of the one before.
        let known = self.begin.filter(|begin| begin.base == seq);
        let known = known.and_then(|begin| begin.prev);
        if let Some(prev) = known {
            self.compare(expected, prev);
        }
        if self.is_found(seq) {
            return;
        }
        if self.earliest.is_some_and(|earliest| earliest < seq) {
            let text = format!(
                "record {seq} is expected, but missing: a verification of the whole log says if a crash lost it"
            );
            self.find(Kind::Gap, seq, seq, "", text);
            return;
        }
        if known.is_none() {
            self.uncompared.push(seq);
        }
        let text = format!("record {seq} is expected, but older than the beginning");
        self.note(seq, text);
    }

    pub(super) fn is_found(&self, seq: u64) -> bool {
        self.holes.iter().any(|hole| hole.is_of(seq))
            || self
                .findings
                .iter()
                .any(|(_, f)| (f.seq..=f.last).contains(&seq))
    }
}
