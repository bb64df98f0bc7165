//! Selects audit records. Pure except for the clock.

use std::collections::BTreeSet;

use remit_common::builtin::Time;
use remit_common::calendar;
use remit_common::id_prefix::IdPrefix;
use remit_common::names::JobId;

use super::record::AuditRecord;
use crate::args::{FilterArgs, SpanArgs, is_of_end};
use crate::error::Failure;

/// In milliseconds since 1970; both ends are inclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub since: Option<u64>,
    pub until: Option<u64>,
}

impl Span {
    pub fn of(args: &SpanArgs) -> Self {
        let now = calendar::now_ms();
        let at = |time: &Option<Time>| time.as_ref().map(|time| time.unix_ms(now));
        Self {
            since: at(&args.since),
            until: at(&args.until),
        }
    }

    pub fn has_started(&self, ms: u64) -> bool {
        self.since.is_none_or(|since| ms >= since)
    }

    pub fn is_over(&self, ms: u64) -> bool {
        self.until.is_some_and(|until| ms > until)
    }
}

#[derive(Debug, Default)]
pub struct Filter {
    user: Option<String>,
    job: Option<IdPrefix>,
    seq: Option<u64>,
    verdict: Option<String>,
    events: Vec<&'static str>,
    command: Option<String>,
    /// Names of commands. None: of all.
    named: &'static [&'static str],
    pub span: Span,
}

impl Filter {
    pub fn of(args: &FilterArgs) -> Self {
        Self {
            user: args.user.clone(),
            job: args.job.clone(),
            seq: args.seq,
            verdict: args.verdict.clone(),
            events: args.event.iter().map(|event| event.name()).collect(),
            command: args.command.as_deref().map(str::to_lowercase),
            named: &[],
            span: Span::of(&args.span),
        }
    }

    pub fn of_job(job: &IdPrefix) -> Self {
        Self {
            job: Some(job.clone()),
            ..Self::default()
        }
    }

    /// Takes records of these events of these named commands.
    pub fn of_commands(named: &'static [&'static str], events: &[&'static str]) -> Self {
        Self {
            named,
            events: events.to_vec(),
            ..Self::default()
        }
    }

    /// Returns true if it takes every record.
    pub fn is_for_all(&self) -> bool {
        let is_any = self.user.is_none() && self.job.is_none() && self.command.is_none();
        is_any
            && self.span == Span::default()
            && self.named.is_empty()
            && self.matches().is_empty()
            && self.verdict.is_none()
    }

    /// Returns matches of journalctl(1) that leave out no record which this takes.
    pub fn matches(&self) -> Vec<String> {
        let whole = self.job.iter().filter_map(IdPrefix::whole);
        let jobs = whole.map(|job| format!("REMIT_JOB={job}"));
        let seqs = self.seq.iter().map(|seq| format!("REMIT_SEQ={seq}"));
        let events = self.events.iter().map(|name| format!("REMIT_EVENT={name}"));
        // A word of another field cannot be preselected.
        let verdicts = self.verdict.iter().filter(|word| !is_of_end(word));
        let verdicts = verdicts.map(|verdict| format!("REMIT_VERDICT={verdict}"));
        let named = self
            .named
            .iter()
            .map(|name| format!("REMIT_COMMAND={name}"));
        let first = jobs.chain(seqs).chain(events);
        first.chain(verdicts).chain(named).collect()
    }

    /// Returns the job that the filter names. Fails if these records are about several such jobs.
    pub fn only_job<'a>(
        &self,
        records: impl IntoIterator<Item = &'a AuditRecord>,
    ) -> Result<Option<JobId>, Failure> {
        let Some(id) = &self.job else {
            return Ok(None);
        };
        let jobs: BTreeSet<JobId> = records.into_iter().filter_map(AuditRecord::job).collect();
        Ok(id.choose(jobs, |job| *job)?)
    }

    pub fn takes(&self, record: &AuditRecord) -> bool {
        let is_about = |user: &str| {
            let names = ["USER", "UID", "APPROVER", "APPROVER_UID", "RESUMED", "OF"];
            let to = record.own("TO").and_then(recipient);
            names.iter().any(|name| record.own(name) == Some(user))
                || to.is_some_and(|(name, uid)| [name, uid].contains(&user))
        };
        let in_time = record
            .time_ms()
            .is_none_or(|ms| self.span.has_started(ms) && !self.span.is_over(ms));
        let of_event = self.events.is_empty()
            || record
                .own("EVENT")
                .is_some_and(|event| self.events.contains(&event));
        let of_job = self
            .job
            .as_ref()
            .is_none_or(|id| record.job().is_some_and(|job| id.begins(job)));
        let of_seq = self.seq.is_none() || self.seq == record.seq();
        let verdict = self.verdict.as_deref();
        let with_verdict =
            verdict.is_none_or(|word| [record.own("VERDICT"), record.word()].contains(&Some(word)));
        let with_command = self.command.as_ref().is_none_or(|part| {
            let others = ["ARGV", "PLAN_CHANGES"].map(|name| record.own(name));
            let others = others.into_iter().flatten().map(str::to_owned);
            let mut texts = record.command().into_iter().chain(others);
            texts.any(|text| text.to_lowercase().contains(part.as_str()))
        });
        let of_name = self.named.is_empty()
            || record
                .own("COMMAND")
                .is_some_and(|name| self.named.contains(&name));
        in_time
            && of_event
            && of_name
            && of_job
            && of_seq
            && with_command
            && with_verdict
            && self.user.as_deref().is_none_or(is_about)
    }
}

/// Returns name and uid of the recipient of a grant, if that is a user: `alice (uid 1000)`.
fn recipient(to: &str) -> Option<(&str, &str)> {
    to.strip_suffix(')')?.rsplit_once(" (uid ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::audit::record::time_ms;

    fn record(fields: &str) -> AuditRecord {
        AuditRecord::of_line(format!("{{{fields}}}").as_bytes(), 1)
    }

    #[test]
    fn each_part_of_a_filter_counts() {
        let record = record(
            r#""REMIT_EVENT":"intent","REMIT_SEQ":"12","REMIT_USER":"alice","REMIT_UID":"1000","REMIT_VERDICT":"allow","REMIT_JOB":"7f3a91c2000000000000000000000000","REMIT_ARGV":"df -H","REMIT_PLAN_CHANGES":"'/etc/motd': changed","REMIT_TIME":"1970-01-01T00:00:01.500Z""#,
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
        for (seq, taken) in [(12, true), (1, false)] {
            let filter = Filter {
                seq: Some(seq),
                ..Filter::default()
            };
            assert_eq!(
                (filter.takes(&record), filter.matches()),
                (taken, vec![format!("REMIT_SEQ={seq}")])
            );
        }
        type Set = fn(&mut Filter, Option<String>);
        let sets: [(Set, &str, &str); 6] = [
            (|f, v| f.user = v, "alice", "alic"),
            (|f, v| f.user = v, "1000", "0"),
            (|f, v| f.verdict = v, "allow", "denied_rule"),
            (
                |f, v| f.job = v.map(|id| id.parse().unwrap()),
                "7f3a91c2",
                "7f3a91c3",
            ),
            (|f, v| f.command = v, "df -h", "du"),
            (|f, v| f.command = v, "'/etc/motd': changed", "/etc/issue"),
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
    fn user_is_found_in_each_field_that_names_one() {
        let approved = r#""REMIT_USER":"agent","REMIT_UID":"1000","REMIT_APPROVER":"cat","REMIT_APPROVER_UID":"1001""#;
        let to_user = r#""REMIT_USER":"cat","REMIT_UID":"1001","REMIT_TO":"agent (uid 1000)""#;
        let to_group = r#""REMIT_USER":"cat","REMIT_UID":"1001","REMIT_TO":"%agent (gid 1000)""#;
        let resumed = r#""REMIT_USER":"cat","REMIT_UID":"1001","REMIT_RESUMED":"agent""#;
        let confirmed = r#""REMIT_USER":"cat","REMIT_UID":"1001","REMIT_OF":"agent""#;
        for (fields, users) in [
            (confirmed, &["agent", "cat", "1001"][..]),
            (approved, &["agent", "1000", "cat", "1001"]),
            (to_user, &["agent", "1000", "cat", "1001"]),
            (to_group, &["cat", "1001"]),
            (resumed, &["agent", "cat", "1001"]),
        ] {
            for user in ["agent", "1000", "cat", "1001", "ann", "1000)"] {
                let filter = Filter {
                    user: Some(user.to_owned()),
                    ..Filter::default()
                };
                let is_taken = filter.takes(&record(fields));
                assert_eq!(is_taken, users.contains(&user), "{user}: {fields}");
            }
        }
    }

    #[test]
    fn verdict_is_code_or_printed_word() {
        let void = record(
            r#""REMIT_EVENT":"void","REMIT_STATE":"denied","REMIT_VERDICT":"approval_void""#,
        );
        let end = record(
            r#""REMIT_EVENT":"end","REMIT_STATE":"timed_out","REMIT_VERDICT":"allow","REMIT_SIGNAL":"9""#,
        );
        assert_eq!((void.word(), end.word()), (Some("void"), Some("timed_out")));
        for (verdict, of_void, of_end) in [
            ("approval_void", true, false),
            ("void", true, false),
            ("denied", false, false),
            ("timed_out", false, true),
            ("allow", false, true),
        ] {
            let filter = Filter {
                verdict: Some(verdict.to_owned()),
                ..Filter::default()
            };
            let found = (filter.takes(&void), filter.takes(&end));
            assert_eq!(found, (of_void, of_end), "{verdict}");
            assert_eq!(
                filter.matches().is_empty(),
                verdict == "timed_out",
                "{verdict}"
            );
        }
    }

    #[test]
    fn records_of_named_commands_are_taken() {
        let filter = Filter::of_commands(&["plan.undo"], &["intent", "end"]);
        let matches = [
            "REMIT_EVENT=intent",
            "REMIT_EVENT=end",
            "REMIT_COMMAND=plan.undo",
        ];
        assert_eq!(filter.matches(), matches);
        assert!(!filter.is_for_all() && Filter::default().is_for_all());
        for (fields, expect) in [
            (r#""REMIT_EVENT":"end","REMIT_COMMAND":"plan.undo""#, true),
            (
                r#""REMIT_EVENT":"asked","REMIT_COMMAND":"plan.undo""#,
                false,
            ),
            (
                r#""REMIT_EVENT":"end","REMIT_COMMAND":"plan.commit""#,
                false,
            ),
            (r#""REMIT_EVENT":"end""#, false),
        ] {
            assert_eq!(filter.takes(&record(fields)), expect, "{fields}");
        }
    }

    #[test]
    fn record_without_field_does_not_match() {
        let filter = Filter {
            command: Some(String::new()),
            ..Filter::default()
        };
        assert!(!filter.takes(&record(r#""REMIT_EVENT":"start""#)));
        assert!(
            !Filter::of_job(&"7f3a91c2".parse().unwrap())
                .takes(&record(r#""REMIT_EVENT":"start""#))
        );
    }

    #[test]
    fn times_of_records_are_whole() {
        assert_eq!(time_ms("2026-11-20T08:25:48.042Z"), Some(1_795_163_148_042));
        for wrong in ["", "now", "-1h", "x", "2026-11-20T25:00:00Z"] {
            assert_eq!(time_ms(wrong), None, "{wrong}");
        }
    }
}
