//! Explains missing records by what journald says of itself around that time.

use std::ops::ControlFlow;

use remit_audit_verify::{Finding, Kind};
use remit_common::text;
use remit_trail::{Event, Hash, unhex};

use super::journal::Journal;
use super::record::AuditRecord;
use crate::error::Failure;
use crate::render::units;

const GAPS: usize = remit_audit_verify::Verifier::FINDINGS;
/// Messages of journald that are read for one gap.
const MESSAGES: usize = 200;
/// A message may come after the event: journald reports a rate limit when it is over.
const AROUND_MS: u64 = 60_000;

/// Who says what journald did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Teller {
    /// This machine's journald.
    Journald,
    /// A host whose root can say anything.
    Host,
}

/// Message ids of journald (sd-messages.h) and their meaning for a gap, the strongest first.
const SAYINGS: [(&str, &str); 3] = [
    (
        "a596d6fe7bfa4994828e72309e95d61e",
        "dropped messages by its rate limit",
    ),
    ("f77379a8490b408bbe5f6940505a777b", "started"),
    ("d93fb3c9c24d451a97cea615ce59c00b", "stopped"),
];

#[derive(Debug, Default)]
pub struct Gaps {
    /// Number, time and hash of the record before.
    last: Option<(u64, u64, Option<Hash>)>,
    gaps: Vec<Gap>,
}

/// Missing numbers, and the times of the records around them in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    first: u64,
    last: u64,
    pub from_ms: u64,
    pub to_ms: u64,
    /// Hash of the record before, and the hash that the next record names. `None` if one of the two is not readable.
    pub links: Option<(Hash, Hash)>,
    /// The next record is a start of the daemon.
    is_before_start: bool,
}

impl Gap {
    /// Returns what may explain it, whatever journald says. Nothing in a log says to which sink the missing daemon wrote.
    pub fn other_sink(self) -> Option<&'static str> {
        let text = "the next record is a start of the daemon: if audit.sink was another one before it, the records may be in \
                    that sink of its host; remit-audit(7), SINKS, says how to verify both as one";
        self.is_before_start.then_some(text)
    }
}

impl Gaps {
    pub fn take(&mut self, record: &AuditRecord) {
        let (Some(seq), Some(ms)) = (record.seq(), record.time_ms()) else {
            return;
        };
        let hash = |name| record.own(name).and_then(unhex);
        if let Some((before, from_ms, before_hash)) = self.last
            && before.saturating_add(1) < seq
            && self.gaps.len() < GAPS
            && let Some((first, last)) = record.entry.missing_after(before)
        {
            self.gaps.push(Gap {
                first,
                last,
                from_ms,
                to_ms: ms,
                links: before_hash.zip(hash("PREV")),
                is_before_start: record.own("EVENT") == Some(Event::Start.name()),
            });
        }
        self.last = Some((seq, ms, hash("HASH")));
    }

    pub fn of(&self, finding: &Finding) -> Option<Gap> {
        let is_it = |gap: &&Gap| gap.first <= finding.seq && finding.last <= gap.last;
        match finding.kind {
            Kind::Gap => self.gaps.iter().find(is_it).copied(),
            _ => None,
        }
    }
}

pub fn cause(journal: &Journal, gap: Gap, teller: Teller) -> Result<String, Failure> {
    let mut args = vec![
        "_TRANSPORT=driver".to_owned(),
        format!("--since=@{}", gap.from_ms.min(gap.to_ms) / 1000),
        format!(
            "--until=@{}",
            gap.from_ms.max(gap.to_ms).saturating_add(AROUND_MS) / 1000 + 1
        ),
    ];
    args.extend(SAYINGS.map(|(id, _)| format!("MESSAGE_ID={id}")));
    let mut said: Vec<(usize, u64, String)> = Vec::new();
    let mut looked = 0;
    journal.each(&args, &mut |record| {
        looked += 1;
        let id = record.get("MESSAGE_ID").unwrap_or_default();
        let position = SAYINGS.iter().position(|(other, _)| *other == id);
        if let (Some(position), Some(ms)) = (position, record.time_ms()) {
            let message = record.get("MESSAGE").unwrap_or_default();
            said.push((position, ms, text::line(message.as_bytes(), 200)));
        }
        Ok(match looked < MESSAGES {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        })
    })?;
    let said = sentence(said, teller);
    Ok(match gap.other_sink() {
        Some(other) => format!("{said}; {other}"),
        None => said,
    })
}

fn sentence(mut said: Vec<(usize, u64, String)>, teller: Teller) -> String {
    // A rate limit of the daemon comes before one of another unit.
    said.sort_by_key(|(position, ms, message)| (*position, !message.contains("remitd"), *ms));
    let found = said
        .first()
        .and_then(|(position, ms, message)| Some((SAYINGS.get(*position)?.1, *ms, message)));
    let (says, of) = match teller {
        Teller::Journald => ("journald says that it", "journald says of itself"),
        Teller::Host => (
            "the host says that its journald",
            "the host says of its journald",
        ),
    };
    match found {
        Some((what, ms, message)) => format!(
            "{says} {what} at {}: \"{message}\". Records may have been lost then; it is no proof that they were",
            units::time(ms / 1000)
        ),
        // journald writes such a message to the kernel's log, and takes none of its own from there.
        None => format!(
            "nothing that {of} explains it; what it could not write, as on a full disk, only the kernel's log of that boot \
             (dmesg) says"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(seq: u64, second: u64) -> AuditRecord {
        let line =
            format!(r#"{{"REMIT_SEQ":"{seq}","REMIT_TIME":"2026-11-20T08:25:{second:02}.000Z"}}"#);
        AuditRecord::of_line(line.as_bytes(), 1)
    }

    fn finding(kind: Kind, seq: u64, last: u64) -> Finding {
        Finding {
            kind,
            seq,
            last,
            position: String::new(),
            text: String::new(),
        }
    }

    #[test]
    fn a_gap_has_the_times_of_its_neighbours() {
        let mut gaps = Gaps::default();
        for (seq, second) in [(7, 1), (8, 2), (12, 5), (13, 6)] {
            gaps.take(&record(seq, second));
        }
        let gap = gaps.of(&finding(Kind::Gap, 9, 11)).unwrap();
        assert_eq!(
            (gap.first, gap.last, gap.to_ms - gap.from_ms),
            (9, 11, 3000)
        );
        assert_eq!(gaps.of(&finding(Kind::Gap, 13, 13)), None);
        assert_eq!(gaps.of(&finding(Kind::Truncated, 9, 11)), None);
    }

    #[test]
    fn number_that_is_no_gap_takes_no_entry() {
        let mut gaps = Gaps::default();
        let mut seq = 1;
        for (name, value) in [("REMIT_AFTER", -2), ("REMIT_DOUBT", -1)] {
            for _ in 0..2 * GAPS as u64 {
                gaps.take(&record(seq, 1));
                seq += 2;
                let mut next = record(seq, 2);
                let number = seq.checked_add_signed(value).unwrap();
                let named = (name.to_owned(), number.to_string());
                next.entry.fields.push(named);
                gaps.take(&next);
                seq += 1;
            }
        }
        gaps.take(&record(seq + 4, 3));
        let gap = gaps.of(&finding(Kind::Gap, seq, seq + 3)).unwrap();
        assert_eq!((gap.first, gap.last), (seq, seq + 3));
    }

    #[test]
    fn records_before_a_start_may_be_in_another_sink() {
        for (event, is_said) in [("start", true), ("refusal", false)] {
            let mut gaps = Gaps::default();
            gaps.take(&record(5, 1));
            let mut next = record(11, 2);
            let named = ("REMIT_EVENT".to_owned(), event.to_owned());
            next.entry.fields.push(named);
            gaps.take(&next);
            let gap = gaps.of(&finding(Kind::Gap, 6, 10)).unwrap();
            assert_eq!(gap.other_sink().is_some(), is_said, "{event}");
        }
    }

    #[test]
    fn best_explanation_is_reported() {
        let said = |position, message: &str| (position, 951_782_399_500, message.to_owned());
        let all = vec![
            said(1, "Journal started"),
            said(0, "Suppressed 3 messages from cron.service"),
            said(0, "Suppressed 37 messages from remitd.service"),
        ];
        let text = sentence(all, Teller::Journald);
        assert!(
            text.contains("37 messages") && text.contains("2000-02-28 23:59:59 UTC"),
            "{text}"
        );
        let unexplained = sentence(Vec::new(), Teller::Host);
        assert!(
            unexplained.starts_with("nothing that the host") && unexplained.contains("full disk"),
            "{unexplained}"
        );
    }
}
