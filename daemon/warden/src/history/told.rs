//! What of a record its user may see again: what they asked for, and what they were told. Pure.

use remit_common::names::JobId;
use remit_common::outcome::State;
use remit_common::text;
use remit_common::wire::Kind;
use remit_link::Owner;

use super::frame::Kept;
use crate::audit::{Event, Record};

/// Bytes of a command and of a cause.
const COMMAND: usize = 200;
const CAUSE: usize = 400;
/// Bytes of a user's name; a longer one is nobody's here (useradd(8) makes none above 256).
const USER: usize = 256;

/// Whose record it is, and what it is about in the words of who asked. Who makes a record tells this;
/// the rest stands in its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Who asked.
    pub owner: Owner,
    /// The job it is about.
    pub job: Option<JobId>,
    /// What they asked for, with secrets hidden.
    pub command: Option<String>,
}

/// The entry that a record makes. `None`: it tells no user anything.
pub fn kept(record: &Record, seq: u64, at_ms: u64) -> Option<Kept> {
    let told = record.told.as_ref()?;
    let Owner { uid, user } = &told.owner;
    let field = |name| {
        let found = record.fields.iter().find(|(other, _)| *other == name);
        found.map(|(_, value)| value.as_str())
    };
    let cause = |text: &str| Some(text::line(text.as_bytes(), CAUSE));
    let told_cause = || field("CAUSE").and_then(cause);
    let (kind, verdict, cause) = match record.event {
        Event::Asked => (Kind::Asked, State::AwaitingApproval.as_str(), None),
        Event::Approved => {
            let by = field("APPROVER").map(|by| format!("approved by {by}"));
            (Kind::Decided, "approved", by.as_deref().and_then(cause))
        }
        Event::Denied => (Kind::Decided, "denied", told_cause()),
        Event::Expired => (Kind::Decided, "expired", told_cause()),
        Event::Void => (Kind::Decided, "void", told_cause()),
        Event::Intent => (Kind::Started, field("VERDICT")?, None),
        Event::End | Event::Interrupted => (Kind::Ended, field("STATE")?, told_cause()),
        Event::Refusal => (Kind::Refused, field("VERDICT")?, told_cause()),
        _ => return None,
    };
    (user.len() <= USER).then(|| Kept {
        seq,
        at_ms,
        kind,
        uid: *uid,
        user: user.clone(),
        job: told.job,
        command: told
            .command
            .as_ref()
            .map(|command| text::line(command.as_bytes(), COMMAND)),
        verdict: text::line(verdict.as_bytes(), 64),
        cause,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::frame;

    fn record(event: Event, fields: &[(&'static str, &str)]) -> Record {
        let owner = Owner {
            uid: 1000,
            user: "alice".into(),
        };
        let record = Record::new(event, "a sentence with /etc/secret/rule and its path");
        let record = fields
            .iter()
            .fold(record, |record, (name, value)| record.field(name, value));
        record.told(owner, Some(JobId([1; 16])), Some("df -h"))
    }

    #[test]
    fn each_kind_is_told_as_its_user_was() {
        let check = |event, fields: &[(&'static str, &str)], expect: (Kind, &str, Option<&str>)| {
            // What only auditors know stands beside it, and stays there.
            let more = [
                ("RULE", "grants.toml:7"),
                ("POLICY", "abc"),
                ("ARGV", "/bin/x"),
            ];
            let kept = kept(&record(event, &[fields, &more].concat()), 7, 9).unwrap();
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
        let nobody = Record {
            told: None,
            ..record.clone()
        };
        assert_eq!(kept(&nobody, 1, 1), None);
        for event in [Event::Start, Event::Queued, Event::Lock, Event::Given] {
            let other = Record {
                event,
                ..record.clone()
            };
            assert_eq!(kept(&other, 1, 1), None, "{event:?}");
        }
    }

    #[test]
    fn the_longest_fits_in_a_frame_and_hostile_text_is_one_line() {
        let hostile = "\u{202e}\n\x1b[2J".repeat(5000);
        let owner = Owner {
            uid: u32::MAX,
            user: "ü".repeat(USER / 2),
        };
        let record = record(
            Event::Refusal,
            &[("VERDICT", &hostile), ("CAUSE", &hostile)],
        );
        let record = record.told(owner, Some(JobId([255; 16])), Some(&hostile));
        let kept = kept(&record, u64::MAX, u64::MAX).unwrap();
        assert!(frame::encode(&kept).is_some());
        let command = kept.command.unwrap();
        assert!(command.len() < COMMAND + 4 && command.starts_with("\\u{202e}\\n\\x1b[2J"));
    }
}
