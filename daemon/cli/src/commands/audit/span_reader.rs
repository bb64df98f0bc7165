//! Finds the records of a time in a log. A clock can be fast and be set back, so only the end of the log ends the time, and
//! what is dated before it is not of it.

use std::ops::ControlFlow;

use remit_common::refusal::{Code, Refusal};

use super::filter::Span;
use super::record::AuditRecord;
use super::source::RecordSource;
use crate::error::Failure;

/// Maximum bytes of later records that are kept of a pipe.
const LATER: usize = 64 << 20;

pub struct SpanReader {
    span: Span,
    has_started: bool,
    is_over: bool,
    taken: u64,
    /// Number of the last record of the time; `None` if the log cannot be read before.
    last: Option<u64>,
    /// Records after the end, of which one of the time may still follow.
    later: Vec<AuditRecord>,
    later_bytes: usize,
}

pub enum TimedRecords {
    Before(AuditRecord),
    /// Dated before the time, or after it though a record of the time follows: for the chain alone.
    Between(Vec<AuditRecord>),
    During {
        /// As [`Self::Between`], in the order of the log, before `record`.
        between: Vec<AuditRecord>,
        record: AuditRecord,
    },
    /// The next records decide.
    Undecided,
    After,
}

impl SpanReader {
    /// Looks for the last record of the time in the whole log, unless it is a pipe. Then it keeps later records.
    pub fn from_source(source: &RecordSource, span: Span) -> Result<Self, Failure> {
        let mut reader = Self::new(span);
        if span.until.is_none() || !source.can_be_read_again() {
            return Ok(reader);
        }
        let (mut taken, mut last) = (0, 0);
        source.all(&mut |record| {
            taken += 1;
            if record.time_ms().is_some_and(|ms| !span.is_over(ms)) {
                last = taken;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        reader.last = Some(last);
        Ok(reader)
    }

    fn new(span: Span) -> Self {
        Self {
            span,
            has_started: span.since.is_none(),
            is_over: false,
            taken: 0,
            last: None,
            later: Vec::new(),
            later_bytes: 0,
        }
    }

    /// Takes the next record of the log. Fails if a pipe has more after the time than is kept.
    pub fn take(&mut self, record: AuditRecord) -> Result<TimedRecords, Failure> {
        self.taken += 1;
        let ms = record.time_ms();
        self.has_started |= ms.is_some_and(|ms| self.span.has_started(ms));
        if !self.has_started {
            return Ok(TimedRecords::Before(record));
        }
        self.is_over = ms.map_or(self.is_over, |ms| self.span.is_over(ms));
        Ok(match (self.is_over, self.last) {
            (true, Some(last)) if self.taken > last => TimedRecords::After,
            (true, Some(_)) => TimedRecords::Between(vec![record]),
            (true, None) => {
                self.keep(record)?;
                TimedRecords::Undecided
            }
            (false, _) => {
                self.later_bytes = 0;
                let mut between = std::mem::take(&mut self.later);
                // After a clock that was fast.
                if ms.is_some_and(|ms| !self.span.has_started(ms)) {
                    between.push(record);
                    return Ok(TimedRecords::Between(between));
                }
                TimedRecords::During { between, record }
            }
        })
    }

    fn keep(&mut self, record: AuditRecord) -> Result<(), Failure> {
        self.later_bytes += record.bytes();
        if self.later_bytes > LATER {
            let text = format!(
                "more than {} MiB of records follow the time of '--until', and a pipe cannot be read twice",
                LATER >> 20
            );
            let refusal = Refusal::new(Code::TooLarge, text);
            return Err(Failure::Machine(
                refusal.lift("give the file itself, not a pipe"),
            ));
        }
        self.later.push(record);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(day: Option<u64>) -> AuditRecord {
        let mut record = AuditRecord::half(day.unwrap_or_default());
        if let Some(day) = day {
            let time = format!("2026-11-{day:02}T08:00:00.000Z");
            record.entry.fields.push(("REMIT_TIME".to_owned(), time));
        }
        record
    }

    fn day_ms(day: u64) -> u64 {
        record(Some(day)).time_ms().unwrap()
    }

    /// Returns how many records are before the time, of it and between, and how many are read.
    fn counts(days: &[Option<u64>]) -> (usize, usize, usize, usize) {
        counts_of(days, SpanReader::new(span()))
    }

    fn span() -> Span {
        Span {
            since: Some(day_ms(5)),
            until: Some(day_ms(9)),
        }
    }

    fn counts_of(days: &[Option<u64>], mut in_span: SpanReader) -> (usize, usize, usize, usize) {
        let (mut before, mut during, mut others) = (0, 0, 0);
        for (at, day) in days.iter().enumerate() {
            match in_span.take(record(*day)).unwrap() {
                TimedRecords::Before(_) => before += 1,
                TimedRecords::Between(records) => others += records.len(),
                TimedRecords::During { between, .. } => {
                    during += 1;
                    others += between.len();
                }
                TimedRecords::Undecided => {}
                TimedRecords::After => return (before, during, others, at),
            }
        }
        (before, during, others, days.len())
    }

    #[test]
    fn clock_that_was_wrong_does_not_end_the_time() {
        let days = |days: &[u64]| days.iter().map(|day| Some(*day)).collect::<Vec<_>>();
        assert_eq!(counts(&days(&[3, 4, 5, 7, 9, 10, 11])), (2, 3, 0, 7));
        assert_eq!(counts(&days(&[3, 5, 28, 28, 6, 7, 10])), (1, 3, 2, 7));
        assert_eq!(counts(&days(&[1, 28, 2, 3, 5, 7])), (1, 2, 3, 6));
        assert_eq!(counts(&days(&[1, 6, 2, 3, 5, 7])), (1, 3, 2, 6));
        let unread = [Some(5), None, Some(10), None, Some(11)];
        assert_eq!(counts(&unread), (0, 2, 0, 5));
        let back = [Some(5), Some(10), None, Some(6)];
        assert_eq!(counts(&back), (0, 2, 2, 4));
        let long = [days(&[5]), vec![Some(10); 300], vec![Some(6); 40]].concat();
        assert_eq!(counts(&long), (0, 41, 300, 341));
    }

    #[test]
    fn later_records_of_a_pipe_are_bounded() {
        let large = |day| {
            let mut record = record(Some(day));
            let value = "x".repeat(LATER / 10);
            record.entry.fields.push(("REMIT_ARGV".to_owned(), value));
            record
        };
        let mut in_span = SpanReader::new(span());
        // What is kept ends with a record of the time.
        for day in [vec![10; 9], vec![6], vec![10; 9]].concat() {
            assert!(in_span.take(large(day)).is_ok());
        }
        assert!(matches!(in_span.take(large(10)), Err(Failure::Machine(_))));
        let mut of_file = SpanReader::new(span());
        of_file.last = Some(20);
        assert!((0..20).all(|_| of_file.take(large(10)).is_ok()));
        let mut small = SpanReader::new(span());
        small.later_bytes = LATER - 100;
        assert!(
            small.take(record(Some(10))).is_err(),
            "a record has a frame"
        );
    }

    #[test]
    fn later_records_of_a_file_are_not_kept() {
        let path = std::env::temp_dir().join(format!("remit-span-{}", std::process::id()));
        let fast = [vec![Some(5)], vec![Some(28); 300], vec![Some(6); 40]].concat();
        let late = vec![Some(12); 300];
        let days = [fast, vec![None], late].concat();
        let lines = days.iter().map(|day| match day {
            Some(day) => format!("{{\"REMIT_TIME\":\"2026-11-{day:02}T08:00:00.000Z\"}}\n"),
            None => "{}\n".to_owned(),
        });
        std::fs::write(&path, lines.collect::<String>()).unwrap();
        let source = RecordSource::Files {
            paths: vec![path.clone()],
            live: false,
        };
        let in_span = SpanReader::from_source(&source, span());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(counts_of(&days, in_span.unwrap()), (0, 42, 300, 342));
        let pipe = RecordSource::Files {
            paths: vec!["-".into()],
            live: false,
        };
        assert_eq!(SpanReader::from_source(&pipe, span()).unwrap().last, None);
    }
}
