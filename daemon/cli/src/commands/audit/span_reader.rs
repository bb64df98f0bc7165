//! Finds the records of a time in a log. A clock can be fast and be set back, so one later record does not end the time.

use super::filter::Span;
use super::record::AuditRecord;

pub struct SpanReader {
    span: Span,
    has_started: bool,
    /// Records after the end, as long as one of the time may still follow.
    later: Vec<AuditRecord>,
}

pub enum TimedRecords {
    Before(AuditRecord),
    /// Of the time, in the order of the log.
    During(Vec<AuditRecord>),
    /// The next records decide.
    Undecided,
    After,
}

impl SpanReader {
    /// More records than a machine writes at boot until its clock is set.
    const LATER: usize = 256;

    pub fn new(span: Span) -> Self {
        Self {
            span,
            has_started: span.since.is_none(),
            later: Vec::new(),
        }
    }

    /// Takes the next record of the log.
    pub fn take(&mut self, record: AuditRecord) -> TimedRecords {
        let ms = record.time_ms();
        self.has_started |= ms.is_some_and(|ms| self.span.has_started(ms));
        if !self.has_started {
            return TimedRecords::Before(record);
        }
        let is_over = match ms {
            Some(ms) => self.span.is_over(ms),
            None => !self.later.is_empty(),
        };
        match is_over {
            true if self.later.len() >= Self::LATER => TimedRecords::After,
            true => {
                self.later.push(record);
                TimedRecords::Undecided
            }
            false => {
                let mut records = std::mem::take(&mut self.later);
                records.push(record);
                TimedRecords::During(records)
            }
        }
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

    /// Returns how many records are before the time and of it, and how many are read.
    fn counts(days: &[Option<u64>]) -> (usize, usize, usize) {
        let mut in_span = SpanReader::new(Span {
            since: Some(day_ms(5)),
            until: Some(day_ms(9)),
        });
        let (mut before, mut during) = (0, 0);
        for (at, day) in days.iter().enumerate() {
            match in_span.take(record(*day)) {
                TimedRecords::Before(_) => before += 1,
                TimedRecords::During(records) => during += records.len(),
                TimedRecords::Undecided => {}
                TimedRecords::After => return (before, during, at),
            }
        }
        (before, during, days.len())
    }

    #[test]
    fn clock_that_was_fast_does_not_end_the_time() {
        let days = |days: &[u64]| days.iter().map(|day| Some(*day)).collect::<Vec<_>>();
        assert_eq!(counts(&days(&[3, 4, 5, 7, 9, 10, 11])), (2, 3, 7));
        assert_eq!(counts(&days(&[3, 5, 28, 28, 6, 7, 10])), (1, 5, 7));
        let unread = [Some(5), None, Some(10), None, Some(11)];
        assert_eq!(counts(&unread), (0, 2, 5));
        let back = [Some(5), Some(10), None, Some(6)];
        assert_eq!(counts(&back), (0, 4, 4));
        let long = [days(&[5]), vec![Some(10); 600]].concat();
        assert_eq!(counts(&long), (0, 1, 1 + SpanReader::LATER));
    }
}
