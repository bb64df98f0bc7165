//! Checks records that must exist.

use super::Verifier;
use crate::Hash;
use crate::report::{Expected, Kind, records};

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
                _ => format!("{} are missing at the end", records(last + 1, newest)),
            };
            self.find(Kind::Truncated, last + 1, newest, "the end", text);
        }
        for Expected { seq, .. } in expected {
            if seq < begin {
                self.note(
                    seq,
                    format!("record {seq} is expected, but older than the beginning"),
                );
            } else if seq <= last && !self.is_found(seq) {
                let text = format!("record {seq} is expected, but missing");
                self.find(Kind::Gap, seq, seq, "", text);
            }
        }
    }

    pub(super) fn is_found(&self, seq: u64) -> bool {
        self.holes.iter().any(|hole| hole.is_of(seq))
            || self
                .findings
                .iter()
                .any(|(_, f)| (f.seq..=f.last).contains(&seq))
    }
}
