//! Reads the past decisions from the audit log, and checks its chain on the way.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use remit_audit_verify::Report;
use serde_json::{Value, json};

use super::past::{PastRequest, QueuedRequests, RecordKind, seen};
use crate::commands::audit::{Chain, RecordSource, Span, SpanReader, TimedRecords};
use crate::error::Failure;
use crate::render::{table, units};

/// What of the log is no decision, and whether it is whole.
#[derive(Debug)]
pub struct AuditLog {
    source: String,
    report: Report,
    not_by_rules: BTreeMap<String, u64>,
    counted: u64,
    times: Option<(u64, u64)>,
}

/// What of the log a replay takes.
pub enum AuditedDecision {
    Made(Box<PastRequest>),
    /// The request with this id was approved by all whom its rule asks for.
    Approved(String),
    /// Of the request with this id, which nobody can approve any more.
    Lapsed(String),
}

/// Passes each decision of this time to `take`, in the order of the log; last those whose start is not recorded.
pub fn read(
    source: &RecordSource,
    span: Span,
    take: &mut dyn FnMut(AuditedDecision),
) -> Result<AuditLog, Failure> {
    let mut chain = Chain::default();
    let mut queue = QueuedRequests::default();
    let (mut not_by_rules, mut counted, mut times) = (BTreeMap::new(), 0, None);
    let mut in_span = SpanReader::from_source(source, span)?;
    source.all(&mut |record| {
        // The daemon may be writing the last line.
        if record.is_half() {
            return Ok(ControlFlow::Continue(()));
        }
        let (between, record) = match in_span.take(record)? {
            TimedRecords::After => return Ok(ControlFlow::Break(())),
            TimedRecords::Undecided => (Vec::new(), None),
            TimedRecords::Before(record) => {
                chain.take_before(record);
                (Vec::new(), None)
            }
            TimedRecords::Between(records) => (records, None),
            TimedRecords::During { between, record } => (between, Some(record)),
        };
        for record in &between {
            chain.take(record);
            queue.started(record);
        }
        let Some(record) = record else {
            return Ok(ControlFlow::Continue(()));
        };
        if let Some(ms) = record.time_ms() {
            times = Some((times.map_or(ms, |(first, _)| first), ms));
        }
        chain.take(&record);
        queue.started(&record);
        match seen(&record) {
            RecordKind::Other => {}
            RecordKind::Decided(request) => take(AuditedDecision::Made(request)),
            RecordKind::Approved(job) => take(AuditedDecision::Approved(job)),
            RecordKind::Lapsed(job) => take(AuditedDecision::Lapsed(job)),
            RecordKind::Queued(job, request) => queue.put(job, request),
            RecordKind::NotByRules(code) => *not_by_rules.entry(code).or_default() += 1,
            RecordKind::Counted(count) => counted += count,
        }
        Ok(ControlFlow::Continue(()))
    })?;
    queue.rest().map(AuditedDecision::Made).for_each(take);
    Ok(AuditLog {
        source: source.name(),
        report: chain.finish(None),
        not_by_rules,
        counted,
        times,
    })
}

impl AuditLog {
    pub fn is_whole(&self) -> bool {
        self.report.findings.is_empty()
    }

    /// What a reader has to know before the results.
    pub fn facts(&self) -> String {
        let mut lines = table::fact("read", &self.source);
        lines += &table::fact("records", &self.report.records.to_string());
        if let Some((first, last)) = self.times {
            let (first, last) = (units::time(first / 1000), units::time(last / 1000));
            lines += &table::fact("written", &format!("{first} to {last}"));
        }
        for finding in &self.report.findings {
            lines += &table::fact("not whole", &finding.text);
        }
        if self.report.more_findings > 0 {
            let more = units::count(self.report.more_findings, "finding");
            lines += &table::fact("", &format!("and {more} more"));
        }
        if !self.is_whole() {
            let advice = "decisions may be missing or forged; what is there was decided; see remit audit verify";
            lines += &table::fact("", advice);
        }
        lines
    }

    /// Requests that cannot be replayed, because no rule decided or nobody recorded them.
    pub fn left_out(&self) -> String {
        let mut lines = String::new();
        let codes = self.not_by_rules.iter();
        let codes: Vec<String> = codes
            .map(|(code, count)| format!("{code} {count}"))
            .collect();
        if !codes.is_empty() {
            let all = self.not_by_rules.values().sum::<u64>();
            lines += &format!("not refused by rules, and not decided again: {all}\n");
            lines += &table::fact("with", &codes.join(", "));
        }
        if self.counted > 0 {
            lines += &format!("cannot tell: {}\n", self.counted);
            let why = "so many refusals came at once that the log only counts them";
            lines += &table::fact("because", why);
        }
        lines
    }

    pub fn json(&self) -> Value {
        let findings = self.report.findings.iter().map(|finding| {
            json!({ "kind": finding.kind.word(), "seq": finding.seq, "last": finding.last, "text": finding.text })
        });
        json!({
            "read": self.source,
            "records": self.report.records,
            "first_ms": self.times.map(|(first, _)| first),
            "last_ms": self.times.map(|(_, last)| last),
            "whole": self.is_whole(),
            "findings": findings.collect::<Vec<_>>(),
            "more_findings": self.report.more_findings,
            "not_by_rules": self.not_by_rules,
            "counted": self.counted,
        })
    }
}
