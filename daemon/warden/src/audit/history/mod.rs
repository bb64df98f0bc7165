//! Entries of users' histories on their way to the broker, which stores them. Not a second audit log: a record goes
//! there first, and a failure here is logged and refuses nothing. An entry stays until the broker has it on file.

mod entry;

use std::collections::VecDeque;

use remit_link::{HistoryMark, HistoryRecord, ToBroker};

use super::Record;

/// Entries without a broker that stores them. They are all that many jobs can leave while a broker is restarted.
const MOST: usize = 4096;

#[derive(Debug, Default)]
pub struct HistoryOutbox {
    entries: VecDeque<HistoryRecord>,
    /// The first entries, which this broker was sent.
    sent: usize,
    is_open: bool,
    is_losing: bool,
}

impl HistoryOutbox {
    pub fn add(&mut self, record: &Record, seq: u64, at_ms: u64) {
        let Some(entry) = entry::from_record(record, seq, at_ms) else {
            return;
        };
        if self.entries.len() >= MOST {
            if !self.is_losing {
                say!(
                    "the history loses entries: no broker stores them (the audit log is complete)"
                );
            }
            self.is_losing = true;
            self.forget(1);
        }
        self.entries.push_back(entry);
    }

    pub const fn is_open(&self) -> bool {
        self.is_open
    }

    /// A broker has read its files. It needs the entries after `newest`.
    pub fn open(&mut self, newest: Option<HistoryMark>) {
        self.is_open = true;
        let stored = |newest| self.entries.iter().position(|entry| entry.mark() == newest);
        let stored = newest.and_then(stored).map_or(0, |last| last + 1);
        self.forget(stored);
        self.sent = 0;
    }

    /// The broker has ended. What it has not reported as stored is sent to the next one.
    pub const fn close(&mut self) {
        self.is_open = false;
    }

    /// Forgets what the broker has stored, at most what it was sent.
    pub fn forget_stored(&mut self, seq: u64) {
        let sent = self.entries.iter().take(self.sent);
        let stored = sent.take_while(|entry| entry.seq <= seq).count();
        self.forget(stored);
        self.is_losing = false;
    }

    pub fn next(&mut self) -> Option<ToBroker> {
        let entry = self.entries.get(self.sent).filter(|_| self.is_open)?;
        self.sent += 1;
        let entry = Box::new(entry.clone());
        Some(ToBroker::History { entry })
    }

    fn forget(&mut self, count: usize) {
        self.entries.drain(..count);
        self.sent = self.sent.saturating_sub(count);
    }
}

#[cfg(test)]
mod tests {
    use remit_common::names::JobId;
    use remit_link::Owner;

    use super::*;
    use crate::audit::Event;

    fn add(outbox: &mut HistoryOutbox, seqs: std::ops::RangeInclusive<u64>) {
        let owner = Owner {
            uid: 1000,
            user: "alice".into(),
        };
        let record = Record::new(Event::Intent, "x").field("VERDICT", "allow");
        let record = record.for_history(owner, Some(JobId([1; 16])), Some("df -h"));
        seqs.for_each(|seq| outbox.add(&record, seq, seq * 10));
    }

    fn sent(outbox: &mut HistoryOutbox) -> Vec<u64> {
        let next = || match outbox.next()? {
            ToBroker::History { entry } => Some(entry.seq),
            other => panic!("{other:?}"),
        };
        std::iter::from_fn(next).collect()
    }

    fn mark(seq: u64, at_ms: u64) -> Option<HistoryMark> {
        Some(HistoryMark { seq, at_ms })
    }

    #[test]
    fn next_broker_is_sent_what_it_does_not_have() {
        let mut outbox = HistoryOutbox::default();
        add(&mut outbox, 1..=3);
        assert!(sent(&mut outbox).is_empty(), "no broker has read its files");
        outbox.open(None);
        assert_eq!(sent(&mut outbox), [1, 2, 3]);
        add(&mut outbox, 4..=5);
        assert_eq!(sent(&mut outbox), [4, 5]);
        outbox.close();
        add(&mut outbox, 6..=6);
        assert!(sent(&mut outbox).is_empty());
        // It died between the third entry and the fourth.
        outbox.open(mark(3, 30));
        assert_eq!(sent(&mut outbox), [4, 5, 6]);
        outbox.close();
        // Another audit log had a third entry, too.
        outbox.open(mark(4, 41));
        assert_eq!(sent(&mut outbox), [4, 5, 6]);
    }

    #[test]
    fn stored_entries_are_forgotten_others_are_bounded() {
        let mut outbox = HistoryOutbox::default();
        outbox.open(None);
        add(&mut outbox, 1..=10);
        outbox.forget_stored(u64::MAX);
        assert_eq!(outbox.entries.len(), 10, "it was sent none of them");
        assert_eq!(sent(&mut outbox).len(), 10);
        outbox.forget_stored(4);
        assert_eq!((outbox.entries.len(), outbox.sent), (6, 6));
        outbox.close();
        let most = MOST as u64;
        add(&mut outbox, 11..=most + 20);
        assert_eq!(outbox.entries.len(), MOST);
        outbox.open(mark(10, 100));
        assert_eq!(sent(&mut outbox), (21..=most + 20).collect::<Vec<_>>());
    }
}
