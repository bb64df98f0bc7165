//! Selects what a user may see of a record: their request and its answer.

use remit_common::outcome::State;
use remit_common::text;
use remit_common::wire::Kind;
use remit_link::{HistoryRecord, Owner};

use crate::audit::{Event, Record};

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
    let (kind, verdict, cause) = match record.event {
        Event::Asked => (Kind::Asked, State::AwaitingApproval.as_str(), None),
        Event::Approved => {
            let by = field("APPROVER").map(|by| format!("approved by {by}"));
            (Kind::Decided, "approved", by.as_deref().and_then(cause))
        }
        Event::Denied => (Kind::Decided, "denied", cause_field()),
        Event::Expired => (Kind::Decided, "expired", cause_field()),
        Event::Void => (Kind::Decided, "void", cause_field()),
        Event::Confirmed => {
            let by = field("USER").map(|by| format!("confirmed by {by}"));
            (Kind::Decided, "confirmed", by.as_deref().and_then(cause))
        }
        Event::Unconfirmed => (Kind::Decided, field("VERDICT")?, cause_field()),
        Event::Intent => (Kind::Started, field("VERDICT")?, None),
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

#[cfg(test)]
mod tests {
    use remit_common::names::JobId;

    use super::*;

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
