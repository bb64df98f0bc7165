//! Entries of users' histories on their way to the broker, which stores them. Not a second audit log: a record goes
//! there first, and a failure here is logged and refuses nothing. An entry stays until the broker has it on file. It has
//! what a user may see of a record: their request and its answer.

use std::collections::VecDeque;

use remit_common::outcome::State;
use remit_common::text;
use remit_common::wire::Kind;
use remit_link::{HistoryMark, HistoryRecord, Owner};

use super::{Event, Record};

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
        let Some(entry) = from_record(record, seq, at_ms) else {
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

    /// Returns the next entry for the broker, and whether it is the last one for now.
    pub fn next(&mut self) -> Option<(&HistoryRecord, bool)> {
        let entry = self.entries.get(self.sent).filter(|_| self.is_open)?;
        self.sent += 1;
        Some((entry, self.sent == self.entries.len()))
    }

    fn forget(&mut self, count: usize) {
        self.entries.drain(..count);
        self.sent = self.sent.saturating_sub(count);
    }
}

const COMMAND: usize = 200;
const CAUSE: usize = 400;
/// Bytes of a user's name. A longer one has no history (useradd(8) makes none above 256).
const USER: usize = 256;

/// Returns `None` if the record is not for a user.
pub fn from_record(record: &Record, seq: u64, at_ms: u64) -> Option<HistoryRecord> {
    let history = record.history.as_ref()?;
    let Owner { uid, user } = &history.owner;
    let field = |name| {
        let found = record.fields.iter().find(|(other, _)| *other == name);
        found.map(|(_, value)| value.as_str())
    };
    let cause = |text: &str| Some(text::line(text.as_bytes(), CAUSE));
    let cause_field = || field("CAUSE").and_then(cause);
    let claims = || {
        let set = field("SET").map(|set| format!("set {set}"));
        let behalf = field("BEHALF").map(|behalf| format!("says it acts for {behalf}"));
        let claims: Vec<String> = set.into_iter().chain(behalf).collect();
        (!claims.is_empty()).then(|| claims.join("; "))
    };
    let (kind, verdict, cause) = match record.event {
        Event::Asked => (Kind::Asked, State::AwaitingApproval.as_str(), claims()),
        Event::Approved => {
            let of = field("APPROVALS").map_or_else(String::new, |of| format!(" ({of})"));
            let by = field("APPROVER").map(|by| format!("approved by {by}{of}"));
            (Kind::Decided, "approved", by.as_deref().and_then(cause))
        }
        Event::Denied => (Kind::Decided, "denied", cause_field()),
        Event::Expired => (Kind::Decided, "expired", cause_field()),
        Event::Void => (Kind::Decided, "void", cause_field()),
        Event::Confirmed => {
            let by = field("USER").map(|by| format!("confirmed by {by}"));
            (Kind::Decided, "confirmed", by.as_deref().and_then(cause))
        }
        Event::Unconfirmed => {
            let verdict = field("VERDICT")?;
            let why = unconfirmed(verdict).to_owned();
            (Kind::Decided, verdict, Some(why))
        }
        Event::Intent => (Kind::Started, field("VERDICT")?, claims()),
        Event::End | Event::Interrupted => (Kind::Ended, field("STATE")?, cause_field()),
        Event::Refusal => (Kind::Refused, field("VERDICT")?, cause_field()),
        _ => return None,
    };
    (user.len() <= USER).then(|| HistoryRecord {
        seq,
        at_ms,
        kind,
        uid: *uid,
        user: user.clone(),
        job: history.job,
        command: history
            .command
            .as_ref()
            .map(|command| text::line(command.as_bytes(), COMMAND)),
        verdict: text::line(verdict.as_bytes(), 64),
        cause,
    })
}

/// Why a user's history has an entry of this verdict about a commit that is to be confirmed.
fn unconfirmed(verdict: &str) -> &'static str {
    match verdict {
        "undoes" => "nobody confirmed it in time",
        "undone" => "it was undone or taken back",
        "not_confirmed" => "its confirmation could not be saved: it is still undone",
        "undone_partly" => "undone, but for what somebody else has changed since",
        _ => "nobody confirmed it in time, and its undo has not worked or is gone",
    }
}

#[cfg(test)]
mod tests {
    use remit_common::names::JobId;

    use super::*;

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
        let mut is_last = true;
        let next = || {
            let (entry, last) = outbox.next()?;
            is_last = last;
            Some(entry.seq)
        };
        let seqs = std::iter::from_fn(next).collect();
        assert!(is_last, "{seqs:?}");
        seqs
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

    fn record(event: Event, fields: &[(&'static str, &str)]) -> Record {
        let owner = Owner {
            uid: 1000,
            user: "alice".into(),
        };
        let record = Record::new(event, "a sentence with /etc/secret/rule and its path");
        let record = fields
            .iter()
            .fold(record, |record, (name, value)| record.field(name, value));
        record.for_history(owner, Some(JobId([1; 16])), Some("df -h"))
    }

    #[test]
    fn each_event_kind_has_its_entry() {
        let check = |event, fields: &[(&'static str, &str)], expect: (Kind, &str, Option<&str>)| {
            // Fields for auditors only are not copied.
            let more = [
                ("RULE", "grants.toml:7"),
                ("POLICY", "abc"),
                ("ARGV", "/bin/x"),
            ];
            let kept = from_record(&record(event, &[fields, &more].concat()), 7, 9).unwrap();
            let found = (kept.kind, kept.verdict.as_str(), kept.cause.as_deref());
            assert_eq!(found, expect, "{event:?}");
            assert_eq!((kept.seq, kept.at_ms, kept.uid), (7, 9, 1000));
            assert_eq!(kept.command.as_deref(), Some("df -h"));
            assert!(!format!("{kept:?}").contains("toml"));
        };
        let cause = Some("too many jobs");
        check(Event::Asked, &[], (Kind::Asked, "awaiting_approval", None));
        let claims = [("SET", "07"), ("BEHALF", "ann")];
        let claimed = Some("set 07; says it acts for ann");
        check(
            Event::Asked,
            &claims,
            (Kind::Asked, "awaiting_approval", claimed),
        );
        check(
            Event::Approved,
            &[("APPROVER", "bob")],
            (Kind::Decided, "approved", Some("approved by bob")),
        );
        for (event, verdict) in [
            (Event::Denied, "denied"),
            (Event::Expired, "expired"),
            (Event::Void, "void"),
        ] {
            let fields = [("STATE", "denied"), ("CAUSE", "too many jobs")];
            check(event, &fields, (Kind::Decided, verdict, cause));
        }
        check(
            Event::Intent,
            &[("VERDICT", "allow")],
            (Kind::Started, "allow", None),
        );
        for (verdict, why) in [
            ("undoes", "nobody confirmed it in time"),
            ("undone", "it was undone or taken back"),
        ] {
            let expect = (Kind::Decided, verdict, Some(why));
            check(Event::Unconfirmed, &[("VERDICT", verdict)], expect);
        }
        check(
            Event::Confirmed,
            &[("USER", "bob")],
            (Kind::Decided, "confirmed", Some("confirmed by bob")),
        );
        for event in [Event::End, Event::Interrupted] {
            let fields = [("STATE", "exited"), ("CAUSE", "too many jobs")];
            check(event, &fields, (Kind::Ended, "exited", cause));
        }
        let fields = [("VERDICT", "busy"), ("CAUSE", "too many jobs")];
        check(Event::Refusal, &fields, (Kind::Refused, "busy", cause));
    }

    #[test]
    fn a_record_about_no_user_is_not_kept() {
        let record = record(Event::Refusal, &[("VERDICT", "busy")]);
        let without_user = Record {
            history: None,
            ..record.clone()
        };
        assert_eq!(from_record(&without_user, 1, 1), None);
        for event in [Event::Start, Event::Queued, Event::Lock, Event::Granted] {
            let other = Record {
                event,
                ..record.clone()
            };
            assert_eq!(from_record(&other, 1, 1), None, "{event:?}");
        }
    }

    #[test]
    fn longest_hostile_entry_fits_one_frame() {
        let hostile = "\u{202e}\n\x1b[2J".repeat(5000);
        let owner = Owner {
            uid: u32::MAX,
            user: "ü".repeat(USER / 2),
        };
        let record = record(
            Event::Refusal,
            &[("VERDICT", &hostile), ("CAUSE", &hostile)],
        );
        let record = record.for_history(owner, Some(JobId([255; 16])), Some(&hostile));
        let kept = from_record(&record, u64::MAX, u64::MAX).unwrap();
        let length = postcard::to_extend(&kept, Vec::new()).unwrap().len();
        assert!(length <= HistoryRecord::MOST, "{length}");
        let command = kept.command.unwrap();
        assert!(command.len() < COMMAND + 4 && command.starts_with("\\u{202e}\\n\\x1b[2J"));
    }
}
