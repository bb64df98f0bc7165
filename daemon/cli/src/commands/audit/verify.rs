//! `remit audit verify`: checks that all records exist, in order, and unchanged.

use std::ops::ControlFlow;
use std::path::Path;
use std::thread;
use std::time::Duration;

use remit_audit_verify::{Expected, Finding, Kind, Note, Report};
use remit_common::calendar::{now_ms, timestamp};

use super::chain::Chain;
use super::collector::verify as verify_collected;
use super::filter::Span;
use super::gaps::{Gap, Gaps, Teller, cause as journal_cause};
use super::head::Head;
use super::record::AuditRecord;
use super::signatures::{Signatures, SignaturesReport, read_signers};
use super::source::RecordSource;
use super::span_reader::{SpanReader, TimedRecords};
use crate::args::VerifyArgs;
use crate::error::{Exit, Failure};
use crate::render::output::{self, Context, Form};
use crate::render::table;

/// The journal may lack the newest records. It is then read again after this time, at most `TRIES` times.
const WRITTEN: Duration = Duration::from_secs(1);
const TRIES: u32 = 5;

/// What is verified.
#[derive(Clone, Copy)]
pub struct Of<'a> {
    pub source: &'a RecordSource,
    pub state: &'a Path,
    pub span: Span,
    pub expect: &'a [Expected],
}

/// Reads each record that is verified. If the journal has to be read again, a new one begins.
pub trait RecordReader: Default {
    fn take(&mut self, record: &AuditRecord);
}

impl RecordReader for () {
    fn take(&mut self, _: &AuditRecord) {}
}

impl<A: RecordReader, B: RecordReader> RecordReader for (A, B) {
    fn take(&mut self, record: &AuditRecord) {
        self.0.take(record);
        self.1.take(record);
    }
}

struct Reading {
    report: Report,
    gaps: Gaps,
    /// Times of the first and last record, in milliseconds since 1970.
    times: Option<(u64, u64)>,
    /// There is a record, of the time or before it.
    has_link: bool,
    /// Time of the last record 1 that follows another record, in milliseconds since 1970.
    new_chain: Option<u64>,
}

pub struct Verification {
    report: Report,
    times: Option<(u64, u64)>,
    source: String,
    head: Head,
    has_link: bool,
    /// The times of missing records, one entry for each finding.
    gaps: Vec<Option<Gap>>,
    /// journald's explanation of a gap, one entry for each finding.
    causes: Vec<Option<String>>,
}

pub fn verify(context: &Context, args: &VerifyArgs) -> Result<Exit, Failure> {
    if let Some(dir) = &args.journal {
        return verify_collected(context, args, dir);
    }
    let source = RecordSource::of(context, &args.source_args)?;
    let span = Span::of(&args.span);
    let of = Of {
        source: &source,
        state: &args.source_args.state,
        span,
        expect: &args.expect,
    };
    // Before the log is read, which may take minutes.
    let keys = args.signers.as_deref().map(read_signers).transpose()?;
    let (verification, signatures) = match keys {
        None => (Verification::new::<()>(context, &of)?.0, None),
        Some(keys) => {
            let (verification, signatures) = Verification::new::<Signatures>(context, &of)?;
            (verification, Some(signatures.check(&keys, now_ms())?))
        }
    };
    match context.form {
        Form::Json => {
            let mut answer = verification.json();
            if let (Some(answer), Some(signatures)) = (answer.as_object_mut(), &signatures) {
                answer.insert("signatures".to_owned(), signatures.json());
            }
            output::json(&answer)?;
        }
        Form::Text => {
            let facts = signatures.iter().flat_map(SignaturesReport::facts);
            let facts: String = facts
                .map(|(name, value)| table::fact(name, &value))
                .collect();
            output::text(&(verification.page() + &facts))?;
        }
    }
    Ok(verification.exit(signatures.as_ref()))
}

fn ends_early(report: &Report) -> bool {
    let kinds = report.findings.iter().map(|finding| finding.kind);
    kinds.into_iter().any(|kind| kind == Kind::Truncated)
}

fn read<R: RecordReader>(of: &Of<'_>, head: &Head) -> Result<(Reading, R), Failure> {
    let Of { source, span, .. } = *of;
    let mut reader = R::default();
    let mut chain = Chain::new(of.expect);
    let mut gaps = Gaps::default();
    let mut times = None;
    let mut in_span = SpanReader::from_source(source, span)?;
    let (mut half, mut new_chain) = (None, None);
    source.all(&mut |record| {
        if record.is_half() && head.allows_half() {
            half = Some(record.entry.position);
            return Ok(ControlFlow::Continue(()));
        }
        match in_span.take(record)? {
            TimedRecords::After => return Ok(ControlFlow::Break(())),
            TimedRecords::Undecided => {}
            TimedRecords::Before(record) => chain.take_before(record),
            TimedRecords::Between(records) => records.iter().for_each(|one| chain.take(one)),
            TimedRecords::During { between, record } => {
                if let Some(before) = chain.before().filter(|_| !chain.has_started()) {
                    gaps.take(before);
                }
                between.iter().for_each(|record| chain.take(record));
                gaps.take(&record);
                if record.seq() == Some(1) && chain.has_link() {
                    new_chain = record.time_ms();
                }
                if let Some(ms) = record.time_ms() {
                    times = Some((times.map_or(ms, |(first, _)| first), ms));
                }
                chain.take(&record);
                reader.take(&record);
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let has_link = chain.has_link();
    let mut report = chain.finish(head.expected());
    report.notes.extend(half.map(|position| Note {
        seq: 0,
        text: format!(
            "{position} is half a record: a daemon that is killed while it writes has started nothing by it, and after a \
             crash of the machine that is not known; the daemon removes it when it starts"
        ),
    }));
    let reading = Reading {
        report,
        gaps,
        times,
        has_link,
        new_chain,
    };
    Ok((reading, reader))
}

impl Verification {
    /// Verifies the records, which `R` reads, too.
    pub fn new<R: RecordReader>(context: &Context, of: &Of<'_>) -> Result<(Self, R), Failure> {
        let Of {
            source,
            span,
            state,
            ..
        } = *of;
        // The head comes before the records: later records only add to the expected ones.
        let head = match (source.is_live(), span.until) {
            (true, None) => Head::ask(context, state),
            (true, Some(_)) => Head::Unknown("what came after --until was not read".into()),
            (false, _) => Head::Unknown("--expect says what these files must have".into()),
        };
        let (mut reading, mut reader) = read(of, &head)?;
        if let RecordSource::Journal(journal) = source {
            let mut tries = TRIES;
            while ends_early(&reading.report) && head.expected().is_some() && tries > 0 {
                journal.sync();
                thread::sleep(WRITTEN);
                tries -= 1;
                (reading, reader) = read(of, &head)?;
            }
        }
        if let Some(finding) = head.is_behind(context, state, &reading.report) {
            reading.report.findings.push(finding);
        }
        Ok((Self::of(reading, source, head), reader))
    }

    pub fn report(&self) -> &Report {
        &self.report
    }

    /// `signatures`: those of the same log, if they were checked.
    pub fn exit(&self, signatures: Option<&SignaturesReport>) -> Exit {
        match self.is_whole() && signatures.is_none_or(SignaturesReport::is_good) {
            true => Exit::OK,
            false => Exit::FOUND,
        }
    }

    fn of(reading: Reading, source: &RecordSource, head: Head) -> Self {
        let Reading {
            report,
            gaps,
            times,
            has_link,
            new_chain,
        } = reading;
        let cause = |finding: &Finding| {
            match (source, gaps.of(finding)) {
            (RecordSource::Journal(journal), Some(gap)) => {
                Some(match journal_cause(journal, gap, Teller::Journald) {
                    Ok(cause) => cause,
                    Err(_) => "what journald says of itself cannot be read".to_owned(),
                })
            }
            (RecordSource::Files { .. }, Some(gap)) => gap.other_sink().map(str::to_owned),
            (RecordSource::Files { live: true, .. }, _) if finding.kind == Kind::Truncated => Some(
                "if the file was rotated, give the older one before it: --file OLDER --file NEWER"
                    .into(),
            ),
            (RecordSource::Journal(_), None)
                if finding.kind == Kind::Truncated && times.is_none() =>
            {
                Some("journald may have removed it, if nothing was recorded for long: verify an export with --file".into())
            }
            (_, _) if (finding.kind, finding.seq) == (Kind::Fork, 1) => new_chain.map(|ms| {
                format!("after a new installation, --since {} verifies the new chain alone", timestamp(ms + 1))
            }),
            (_, _) => None,
        }
        };
        Self {
            gaps: report.findings.iter().map(|one| gaps.of(one)).collect(),
            causes: report.findings.iter().map(cause).collect(),
            report,
            times,
            source: source.name(),
            head,
            has_link,
        }
    }

    /// Returns true if verification passed. Without any record, also before the time, the end must be known for that.
    pub fn is_whole(&self) -> bool {
        let is_conclusive = self.has_link || self.head.expected().is_some();
        self.report.findings.is_empty() && is_conclusive
    }
}

mod words;

#[cfg(test)]
mod tests;
