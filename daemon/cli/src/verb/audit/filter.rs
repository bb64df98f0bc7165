//! Which records are meant. Pure but for the clock.

use std::time::{SystemTime, UNIX_EPOCH};

use remit_common::builtin::Time;

use super::record::Record;
use crate::args::{FilterArgs, SpanArgs};

/// From when on and up to when, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// At this time or later.
    pub since: Option<u64>,
    /// At this time or earlier.
    pub until: Option<u64>,
}

impl Span {
    /// As it was asked for, at this moment.
    pub fn of(args: &SpanArgs) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        let at = |time: &Option<Time>| time.as_ref().map(|time| time.unix_ms(now));
        Self {
            since: at(&args.since),
            until: at(&args.until),
        }
    }

    /// Whether a record's time is not before it.
    pub fn has_begun(&self, ms: u64) -> bool {
        self.since.is_none_or(|since| ms >= since)
    }

    /// Whether a record's time is after it.
    pub fn is_over(&self, ms: u64) -> bool {
        self.until.is_some_and(|until| ms > until)
    }
}

/// What a record must be.
#[derive(Debug, Default)]
pub struct Filter {
    user: Option<String>,
    job: Option<String>,
    verdict: Option<String>,
    events: Vec<&'static str>,
    command: Option<String>,
    /// When.
    pub span: Span,
}

impl Filter {
    /// As it was asked for, at this moment.
    pub fn of(args: &FilterArgs) -> Self {
        Self {
            user: args.user.clone(),
            job: args.job.clone(),
            verdict: args.verdict.clone(),
            events: args.event.iter().map(|event| event.name()).collect(),
            command: args.command.as_deref().map(str::to_lowercase),
            span: Span::of(&args.span),
        }
    }

    /// That of one job, by how its id begins.
    pub fn of_job(job: &str) -> Self {
        Self {
            job: Some(job.to_owned()),
            ..Self::default()
        }
    }

    /// What the journal itself can tell, as matches for journalctl(1).
    pub fn matches(&self) -> Vec<String> {
        let whole = self.job.iter().filter(|job| job.len() == 32);
        let jobs = whole.map(|job| format!("REMIT_JOB={job}"));
        let events = self.events.iter().map(|name| format!("REMIT_EVENT={name}"));
        let verdicts = self
            .verdict
            .iter()
            .map(|verdict| format!("REMIT_VERDICT={verdict}"));
        jobs.chain(events).chain(verdicts).collect()
    }

    /// Whether this record is meant.
    pub fn takes(&self, record: &Record) -> bool {
        let is = |wanted: &Option<String>, name: &str| {
            let wanted = wanted.as_deref();
            wanted.is_none_or(|wanted| record.ours(name) == Some(wanted))
        };
        let in_time = record
            .time_ms()
            .is_none_or(|ms| self.span.has_begun(ms) && !self.span.is_over(ms));
        let of_event = self.events.is_empty()
            || record
                .ours("EVENT")
                .is_some_and(|event| self.events.contains(&event));
        let of_job = self.job.as_ref().is_none_or(|begin| {
            let job = record.ours("JOB");
            job.is_some_and(|job| job.starts_with(begin.as_str()))
        });
        let with_command = self.command.as_ref().is_none_or(|part| {
            let argv = record.ours("ARGV").map(str::to_owned);
            let mut texts = record.command().into_iter().chain(argv);
            texts.any(|text| text.to_lowercase().contains(part.as_str()))
        });
        in_time
            && of_event
            && of_job
            && with_command
            && is(&self.verdict, "VERDICT")
            && (is(&self.user, "USER") || is(&self.user, "UID") || is(&self.user, "APPROVER"))
    }
}

/// The time of a record: `2026-11-20T08:11:11.042Z`, in milliseconds since 1970.
pub fn time_ms(text: &str) -> Option<u64> {
    let time: Time = text.parse().ok()?;
    matches!(time, Time::Date(..)).then(|| time.unix_ms(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(fields: &str) -> Record {
        Record::of_line(format!("{{{fields}}}").as_bytes(), 1)
    }

    #[test]
    fn each_part_of_a_filter_counts() {
        let record = record(
            r#""REMIT_EVENT":"intent","REMIT_USER":"alice","REMIT_UID":"1000","REMIT_VERDICT":"allow","REMIT_JOB":"7f3a91c2000000000000000000000000","REMIT_ARGV":"df -H","REMIT_TIME":"1970-01-01T00:00:01.500Z""#,
        );
        let some = |text: &str| Some(text.to_owned());
        let span = |since, until| Filter {
            span: Span { since, until },
            ..Filter::default()
        };
        let of = |events| Filter {
            events,
            ..Filter::default()
        };
        type Set = fn(&mut Filter, Option<String>);
        let sets: [(Set, &str, &str); 5] = [
            (|f, v| f.user = v, "alice", "alic"),
            (|f, v| f.user = v, "1000", "0"),
            (|f, v| f.verdict = v, "allow", "denied_rule"),
            (|f, v| f.job = v, "7f3a91c2", "7f3a91c3"),
            (|f, v| f.command = v, "df -h", "du"),
        ];
        for (set, yes, no) in sets {
            for (value, expect) in [(yes, true), (no, false)] {
                let mut filter = Filter::default();
                set(&mut filter, some(value));
                assert_eq!(filter.takes(&record), expect, "{value}");
            }
        }
        for (filter, expect) in [
            (Filter::default(), true),
            (of(vec!["end", "intent"]), true),
            (of(vec!["end"]), false),
            (span(Some(1500), Some(1500)), true),
            (span(Some(1501), None), false),
            (span(None, Some(1499)), false),
        ] {
            assert_eq!(filter.takes(&record), expect, "{filter:?}");
        }
    }

    #[test]
    fn a_record_without_a_field_is_not_meant_by_it() {
        let filter = Filter {
            command: Some(String::new()),
            ..Filter::default()
        };
        assert!(!filter.takes(&record(r#""REMIT_EVENT":"start""#)));
        assert!(!Filter::of_job("7f3a91c2").takes(&record(r#""REMIT_EVENT":"start""#)));
    }

    #[test]
    fn times_of_records_are_whole() {
        assert_eq!(time_ms("2026-11-20T08:25:48.042Z"), Some(1_795_163_148_042));
        for wrong in ["", "now", "-1h", "x", "2026-11-20T25:00:00Z"] {
            assert_eq!(time_ms(wrong), None, "{wrong}");
        }
    }
}
