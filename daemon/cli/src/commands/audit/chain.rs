//! Verifies the records of a time as part of the whole chain: they follow the record before that time.

use std::collections::BTreeSet;

use remit_audit_verify::{Expected, Report, Verifier};

use super::record::AuditRecord;

#[derive(Default)]
pub struct Chain {
    verifier: Verifier,
    has_started: bool,
    /// Number of the first record of the time that has one.
    first: Option<u64>,
    /// The newest record before the time.
    before: Option<AuditRecord>,
    /// Lines after that one which are no records, and so may be of the time.
    unreadable: Vec<AuditRecord>,
    /// Numbers of expected records.
    expect: BTreeSet<u64>,
    /// Lowest number of a record that was compared with expected ones.
    earliest: Option<u64>,
}

impl Chain {
    /// Kept of lines that are no records: each is a finding.
    const UNREADABLE: usize = 16;

    /// `expect`: records that must exist, unless the log begins after them.
    pub fn new(expect: &[Expected]) -> Self {
        let mut chain = Self::default();
        expect.iter().for_each(|one| chain.verifier.expect(*one));
        chain.expect = expect.iter().map(|one| one.seq).collect();
        chain
    }

    fn take_earlier(&mut self, record: &AuditRecord) {
        let Some(seq) = record.seq() else {
            return;
        };
        // Reading a record computes its hash. Most are not needed.
        let is_earliest = self.earliest.is_none_or(|earliest| seq < earliest);
        if self.expect.contains(&seq) || (is_earliest && !self.expect.is_empty()) {
            self.earliest = Some(self.earliest.map_or(seq, |earliest| earliest.min(seq)));
            self.verifier.take_earlier(&record.entry);
        }
    }

    /// Takes a record before the time.
    pub fn take_before(&mut self, record: AuditRecord) {
        self.take_earlier(&record);
        if record.seq().is_some() {
            self.unreadable.clear();
            self.before = Some(record);
        } else if self.unreadable.len() < Self::UNREADABLE {
            self.unreadable.push(record);
        }
    }

    /// Takes a record of the time.
    pub fn take(&mut self, record: &AuditRecord) {
        self.begin();
        self.has_started = true;
        self.first = self.first.or(record.seq());
        self.verifier.take(&record.entry);
    }

    /// The newest record before the time.
    pub fn before(&self) -> Option<&AuditRecord> {
        self.before.as_ref()
    }

    pub fn has_started(&self) -> bool {
        self.has_started
    }

    /// Returns true if there is a record, of the time or before it.
    pub fn has_link(&self) -> bool {
        self.has_started || self.before.is_some()
    }

    /// `head` must be in the log, of the time or before it. The report counts the records of the time.
    pub fn finish(mut self, head: Option<Expected>) -> Report {
        let before = self.before.as_ref().and_then(AuditRecord::seq);
        if !self.has_started {
            self.begin();
        }
        let mut report = self.verifier.finish(head);
        if let Some(before) = before {
            report.records = report.records.saturating_sub(1);
            let range = report.range.filter(|_| self.has_started);
            // Numbers after the record before may be skipped or missing.
            let first = self.first.unwrap_or_default().max(before + 1);
            report.range = range.map(|(_, last)| (first.min(last), last));
        }
        report
    }

    fn begin(&mut self) {
        if self.has_started {
            return;
        }
        if let Some(before) = &self.before {
            self.verifier.continue_from(&before.entry);
        }
        for record in &self.unreadable {
            self.verifier.take(&record.entry);
        }
        self.unreadable.clear();
    }
}
