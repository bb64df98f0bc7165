mod holes;
mod state;

use crate::{Entry, Expected, Finding, Hash, Kind, Note, Report, records};
use crate::{Parsed, Read};
use state::{Begin, Jump, Known, PENDING};

pub use state::Verifier;

/// Number of remembered hashes: as many as a crash of the machine can skip.
const REMEMBERED: usize = 1 << 16;

impl Verifier {
    /// Findings and notes that are reported one by one.
    pub const FINDINGS: usize = 20;
    pub const NOTES: usize = 20;

    /// Requires this record, unless the audit log begins after it. Call it any number of times before [`Self::take`].
    pub fn expect(&mut self, expected: Expected) {
        if expected.seq > 0 {
            self.expected.push(expected);
        }
    }

    /// Takes the record before those to verify, which must lead to it. Earlier ones may be in the log.
    pub fn continue_from(&mut self, entry: &Entry) {
        self.is_continued = true;
        self.take(entry);
    }

    /// Compares a record of the log, before those to verify, with the expected ones. It needs no order.
    pub fn take_earlier(&mut self, entry: &Entry) {
        let (Read::Whole(record) | Read::Wrong(Some(record), ..)) = entry.read() else {
            return;
        };
        let seq = record.seq;
        if seq == 0 {
            return;
        }
        self.earliest = Some(self.earliest.map_or(seq, |earliest| earliest.min(seq)));
        if self.expected.iter().any(|one| one.seq == seq) {
            self.earlier.entry(seq).or_default().push(record.computed);
        }
    }

    pub fn take(&mut self, entry: &Entry) {
        self.records += 1;
        let position = &entry.position;
        match entry.read() {
            Read::Whole(record) if record.computed == record.claimed => {
                self.note_lost(&record);
                self.take_whole(&record, position);
            }
            Read::Whole(record) => {
                let why = "its hash does not match its content";
                self.suspect(Some(record), Kind::Edit, why, position);
            }
            Read::Wrong(record, kind, why) => self.suspect(record, kind, why, position),
        }
    }

    /// Returns the report. `expected` is the daemon's head, read before the records: the log may continue after it.
    #[must_use]
    pub fn finish(mut self, expected: Option<Expected>) -> Report {
        self.number_last_suspects(expected);
        self.close();
        if let Some(expected) = expected.filter(|expected| expected.seq > 0) {
            match self.seen.get(&expected.seq).copied() {
                Some(hash) => self.compare(expected, hash),
                None => self.expected.push(expected),
            }
        }
        self.tell_expected();
        for hole in std::mem::take(&mut self.holes) {
            self.tell_hole(hole);
        }
        let begin = self.begin.map_or(0, |begin| begin.seq);
        let late_begin = (begin > 1 && !self.is_continued).then_some(begin);
        if late_begin.is_some() {
            let text = format!(
                "the log begins with record {begin}: earlier records are not here (an older file, removed by journald, or in the journal of an older machine id)"
            );
            self.note(begin, text);
        }
        let more = self.findings.len().saturating_sub(Self::FINDINGS) as u64;
        // Whoever rewrites the past does not hide it behind gaps.
        self.findings
            .sort_by_key(|(at, finding)| (finding.kind != Kind::Fork, *at));
        self.findings.truncate(Self::FINDINGS);
        self.findings.sort_by_key(|(at, _)| *at);
        let findings = self.findings.into_iter().map(|(_, finding)| finding);
        let findings: Vec<_> = findings.collect();
        self.notes.sort_by_key(|note| note.seq);
        self.uncompared.sort_unstable();
        self.uncompared.dedup();
        Report {
            records: self.records,
            range: self.last.map(|last| (begin.min(last.seq), last.seq)),
            late_begin,
            uncompared: self.uncompared,
            last_hash: self.last.and_then(|last| last.hash),
            findings,
            more_findings: self.more_findings + more,
            notes: self.notes,
            more_notes: self.more_notes,
        }
    }

    fn take_whole(&mut self, record: &Parsed, position: &str) {
        let jump = self.jump.take();
        if let Some(branch) = self.branch.take()
            && record.base() == branch.seq
            && Some(record.prev) == branch.hash
        {
            // The chain continues from the second record.
            self.seen.split_off(&branch.seq);
            self.arrive(branch);
        }
        let Some(last) = self.last else {
            return self.begin(record, position);
        };
        if let Some(jump) = jump
            && record.seq < jump.to
            && links(&jump.from, record)
        {
            let text = format!("record {} is before record {}", jump.to, record.seq);
            self.find(Kind::Order, jump.to, jump.to, position, text);
            // The skipped records are expected next.
            self.forget(jump.from.seq + 1, jump.to);
            self.excused = jump.after.map(|after| (after + 1, jump.to - 1));
            self.last = Some(jump.from);
            return self.go_on(jump.from, record, position);
        }
        match self.seen.get(&record.seq) {
            Some(hash) if *hash == record.claimed => {
                let text = format!("record {} is there twice", record.seq);
                self.find(Kind::Double, record.seq, record.seq, position, text);
            }
            Some(_) => self.fork(record, position),
            None if record.seq > last.seq => self.go_on(last, record, position),
            None => self.late(last, record, position),
        }
    }

    fn begin(&mut self, record: &Parsed, position: &str) {
        let base = record.base();
        let before = self.suspects.len() as u64;
        let links = self.suspects.last().and_then(|s| s.links(record));
        let highest = match record.doubt {
            // A record that may never have been written takes no number.
            Some((first, last)) if last == base && links == Some(false) => first.saturating_sub(1),
            _ => base,
        };
        let from = highest.saturating_sub(before);
        if base == 0 && record.prev != [0; 32] {
            let text = format!(
                "record {} is the first, and names one before it",
                record.seq
            );
            self.find(Kind::Edit, record.seq, record.seq, position, text);
        }
        self.number_suspects(from, base, Some(record), position);
        let first = if before == 0 { record.seq } else { from + 1 };
        self.begin = Some(Begin {
            seq: first,
            base: if before == 0 { base } else { from },
            prev: (before == 0).then_some(record.prev),
            sure: record.sure(),
        });
        self.tell_jump(from.max(base), record);
        self.arrive(record.known());
    }

    fn go_on(&mut self, last: Known, record: &Parsed, position: &str) {
        let base = record.base();
        let suspects = self.suspects.len();
        let upper = if record.after.is_some() {
            base.max((last.seq + suspects as u64).min(record.seq - 1))
        } else {
            base
        };
        let before = self
            .seen
            .get(&base)
            .copied()
            .or(last.hash.filter(|_| base == last.seq));
        let is_open = self.number_suspects(last.seq, upper, Some(record), position);
        if suspects == 0
            && let Some(before) = before
            && before != record.prev
        {
            let text = format!(
                "record {base} is not the one that record {} follows",
                record.seq
            );
            self.find(Kind::Edit, base, base, position, text);
        }
        self.tell_jump(upper.max(last.seq), record);
        if is_open && suspects == 0 {
            self.jump = Some(Jump {
                from: last,
                to: record.seq,
                after: record.after,
            });
        }
        self.arrive(record.known());
    }

    /// Takes a record whose number is below the highest.
    fn late(&mut self, last: Known, record: &Parsed, position: &str) {
        let seq = record.seq;
        if let Some(begin) = self.begin
            && ((begin.base, begin.prev) == (seq, Some(record.claimed))
                || (begin.sure < begin.base && (begin.sure..begin.base + 1).contains(&seq)))
        {
            let wrong = if last.seq == begin.seq {
                begin.seq
            } else {
                seq
            };
            let text = format!("record {seq} is after record {}", last.seq);
            self.find(Kind::Order, wrong, wrong, position, text);
            self.begin = Some(Begin {
                seq,
                base: record.base(),
                prev: Some(record.prev),
                sure: record.sure(),
            });
            self.remember(seq, record.claimed);
            return;
        }
        let was_missing = self.fill(seq, seq);
        if seq == 1 && !was_missing {
            return self.fork(record, position);
        }
        let text = format!("record {seq} is after record {}", last.seq);
        self.find(Kind::Order, seq, seq, position, text);
        // Its statements about earlier records apply here too.
        if let Some((first, last)) = record.doubt {
            self.fill(first, last);
        }
        if let Some(after) = record.after {
            self.fill(after + 1, seq - 1);
        }
        self.remember(seq, record.claimed);
    }

    fn fork(&mut self, record: &Parsed, position: &str) {
        let seq = record.seq;
        let text = if seq == 1 {
            "a new chain begins with record 1: remit was purged and installed again, the daemon's head was removed, or this is the \
             log of another machine"
                .to_owned()
        } else {
            format!("a second record {seq}, another than the first: the chain was forked")
        };
        self.find(Kind::Fork, seq, seq, position, text);
        self.branch = Some(record.known());
    }

    fn tell_jump(&mut self, last: u64, record: &Parsed) {
        if record.after.is_none() || last + 1 >= record.seq {
            return;
        }
        let numbers = records(last + 1, record.seq - 1);
        let text = format!("{numbers}: lost when the machine went down, or never written");
        self.note(record.seq, text);
    }

    /// They took no number, so this field alone says that they are missing.
    fn note_lost(&mut self, record: &Parsed) {
        if let Some(count) = record.lost.filter(|count| *count > 0) {
            let text = format!(
                "record {}: {count} before it could be neither written nor kept, and what they were about may have happened",
                record.seq
            );
            self.note(record.seq, text);
        }
    }

    fn arrive(&mut self, known: Known) {
        self.fill(known.seq, known.seq);
        self.last = Some(known);
        if let Some(hash) = known.hash {
            self.remember(known.seq, hash);
        }
    }

    fn remember(&mut self, seq: u64, hash: Hash) {
        self.seen.insert(seq, hash);
        if self.seen.len() > REMEMBERED {
            self.seen.pop_first();
        }
        let (of_it, others) = self.expected.drain(..).partition(|e| e.seq == seq);
        self.expected = others;
        let of_it: Vec<Expected> = of_it;
        for expected in of_it {
            self.compare(expected, hash);
        }
    }

    fn find(&mut self, kind: Kind, seq: u64, last: u64, position: &str, text: String) {
        let finding = Finding {
            kind,
            seq,
            last,
            position: position.to_owned(),
            text,
        };
        self.find_at(self.records, finding);
    }

    fn find_at(&mut self, at: u64, finding: Finding) {
        if self.findings.len() < Self::FINDINGS + PENDING {
            self.findings.push((at, finding));
            return;
        }
        self.more_findings += 1;
        if finding.kind == Kind::Fork
            && let Some(other) = self
                .findings
                .iter_mut()
                .rev()
                .find(|(_, other)| other.kind != Kind::Fork)
        {
            *other = (at, finding);
        }
    }

    fn note(&mut self, seq: u64, text: String) {
        if self.notes.len() < Self::NOTES {
            self.notes.push(Note { seq, text });
        } else {
            self.more_notes += 1;
        }
    }
}

impl Parsed {
    fn known(&self) -> Known {
        Known {
            seq: self.seq,
            hash: Some(self.claimed),
        }
    }
}

/// Returns true if `record` follows `from` directly, or if it doubts all records between them.
fn links(from: &Known, record: &Parsed) -> bool {
    let base = record.base();
    if base == from.seq {
        return from.hash.is_none_or(|hash| hash == record.prev);
    }
    base > from.seq && record.doubts(from.seq + 1) && record.doubts(base)
}
