use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;

use remit_common::calendar;
use remit_common::id_prefix::IdPrefix;
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_trail::Event;
use serde_json::json;

use super::filter::Filter;
use super::list::Fields;
use super::record::AuditRecord;
use super::shown_check::ShownCheck;
use super::source::RecordSource;
use super::undo_links::{COMMANDS, CommitStep, EVENTS, UndoLinks};
use crate::args::RecordSourceArgs;
use crate::error::{Exit, Failure};
use crate::render::output::{self, Context, Form};
use crate::render::units;
use crate::render::untrusted_columns::Page;

/// Refusals that are shown. Any administrator can have a refused decision name any job, again and again.
const REFUSALS: usize = 1000;

const LABELS: [(&str, &str); 48] = [
    ("USER", "user"),
    ("UID", "uid"),
    ("LOGINUID", "login uid"),
    ("SESSION", "session"),
    ("PEER", "process"),
    ("CLIENT", "client says"),
    ("BEHALF", "says for"),
    ("TRACEPARENT", "trace"),
    ("REQUEST_ID", "request"),
    ("SET", "set"),
    ("COMMAND", "command"),
    ("ARGS", "arguments"),
    ("ARGV", "argv"),
    ("REASON", "reason"),
    ("CWD", "directory"),
    ("SCRIPT", "script"),
    ("SCRIPT_SHA256", "script hash"),
    ("STDIN_SHA256", "stdin hash"),
    ("DIGEST", "digest"),
    ("VERDICT", "verdict"),
    ("RULE", "rule"),
    ("POLICY", "policy"),
    ("SHADOW", "shadow says"),
    ("SHADOW_RULE", "its rule"),
    ("SHADOW_CAUSE", "its cause"),
    ("SHADOW_POLICY", "its policy"),
    ("PROFILE", "profile"),
    ("EFFECT", "effect"),
    ("APPROVER", "approver"),
    ("APPROVER_UID", "by uid"),
    ("APPROVER_PEER", "by process"),
    ("BY", "approvers"),
    ("EXPIRES", "expires"),
    ("GRANT", "grant"),
    ("JOB_UID", "runs as uid"),
    ("ENFORCED", "sandbox"),
    ("RUNTIME_MAX", "time limit"),
    ("WAITED_MS", "waited"),
    ("STATE", "state"),
    ("EXIT", "exit"),
    ("SIGNAL", "signal"),
    ("CAUSE", "cause"),
    ("RUNTIME_MS", "runtime"),
    ("CPU_USEC", "cpu time"),
    ("MEMORY_PEAK", "memory"),
    ("OUTPUT_BYTES", "output"),
    ("OUTPUT_SHA256", "output hash"),
    ("KILL_VERIFIED", "all ended"),
];

/// Fields that are folded between words. The others are shown exactly.
const PROSE: [&str; 9] = [
    "REASON",
    "RULE",
    "APPROVER",
    "BY",
    "GRANT",
    "ENFORCED",
    "CAUSE",
    "SHADOW_RULE",
    "SHADOW_CAUSE",
];

/// Fields of the hash chain, which say nothing about the job.
const CHAIN: [&str; 7] = ["EVENT", "JOB", "SEQ", "PREV", "HASH", "BOOT", "TIME"];

/// The records of one job: the newest refusals, and all others, of which it has fewer than ten.
#[derive(Default)]
struct JobRecords {
    others: Vec<AuditRecord>,
    refusals: VecDeque<AuditRecord>,
    /// Older refusals.
    left_out: u64,
}

impl JobRecords {
    fn take(&mut self, record: AuditRecord) {
        if record.own("EVENT") != Some(Event::Refusal.name()) {
            self.others.push(record);
            return;
        }
        self.refusals.push_back(record);
        if self.refusals.len() > REFUSALS {
            self.refusals.pop_front();
            self.left_out += 1;
        }
    }

    /// Returns the records in the order of their numbers, and how many refusals are left out.
    fn finish(self) -> (Vec<AuditRecord>, u64) {
        let mut records = self.others;
        records.extend(self.refusals);
        records.sort_by_key(AuditRecord::seq);
        (records, self.left_out)
    }
}

/// Shows the records. The exit status is 1 if no record is about such a job.
pub fn story(
    context: &Context,
    source_args: &RecordSourceArgs,
    id: &IdPrefix,
) -> Result<Exit, Failure> {
    let source = RecordSource::of(context, source_args)?;
    let filter = Filter::of_job(id);
    let mut records = JobRecords::default();
    source.some(&filter, &mut |record| {
        records.take(record);
        Ok(ControlFlow::Continue(()))
    })?;
    let (records, left_out) = records.finish();
    let Some(job) = filter.only_job(&records)? else {
        return none(context, id);
    };
    let links = undo_links(&source, &records)?;
    let (undone_by, undoes) = (links.undone_by(job), links.undoes(job));
    let job = job.to_string();
    match context.form {
        Form::Json => {
            let records: Vec<Fields<'_>> = records.iter().map(Fields).collect();
            let of_job = |job: Option<JobId>| job.map(|job| job.to_string());
            output::json(&json!({
                "job_id": job,
                "records": records,
                "refusals_left_out": left_out,
                "undone_by": of_job(undone_by),
                "undoes": of_job(undoes),
            }))?;
        }
        Form::Text => {
            let others = [("undone by", undone_by), ("undoes", undoes)];
            let others = others.into_iter();
            let others: Vec<String> = others
                .filter_map(|(word, other)| Some(format!("{word} {}", other?)))
                .collect();
            let page = page(&job, &others, &records);
            output::text(&page.text(false, context.width))?;
        }
    }
    if left_out > 0 {
        let left_out = units::count(left_out, "older refusal");
        output::note(&format!(
            "{left_out} about this job left out: remit audit export --job {job} has all"
        ));
    }
    let mut check = ShownCheck::new(false);
    records.iter().for_each(|record| check.take(record));
    if let Some(found) = check.finish() {
        output::note(&found);
    }
    Ok(Exit::OK)
}

/// Reads which commit these records undo, or which job has undone theirs. None if the source can be read only once.
fn undo_links(source: &RecordSource, records: &[AuditRecord]) -> Result<UndoLinks, Failure> {
    let Some(own) = records.iter().find_map(CommitStep::from_record) else {
        return Ok(UndoLinks::default());
    };
    if !source.can_be_read_again() {
        return Ok(UndoLinks::default());
    }
    let mut steps = Vec::new();
    let filter = Filter::of_commands(&COMMANDS, &EVENTS);
    source.some(&filter, &mut |record| {
        let step = CommitStep::from_record(&record).filter(|step| step.id() == own.id());
        if let (Some(step), Some(job)) = (step, record.job()) {
            steps.push((record.seq(), job, step));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(UndoLinks::of_steps(steps))
}

fn none(context: &Context, id: &IdPrefix) -> Result<Exit, Failure> {
    let text = format!("no record is about a job {id}");
    output::note(&text);
    output::note(
        "to go on: remit audit show lists the newest records; remit history may have jobs of which no record is left",
    );
    if context.form == Form::Json {
        output::json(&json!({ "error": Refusal::new(Code::NotFound, text) }))?;
    }
    Ok(Exit::FOUND)
}

/// Shows of each record only what is not as the record before it that has the field says. `others`: lines about other jobs.
fn page(job: &str, others: &[String], records: &[AuditRecord]) -> Page {
    let mut page = Page::default();
    page.line(&format!("job {job}"));
    others.iter().for_each(|line| page.line(line));
    let mut shown_fields: BTreeMap<&str, &str> = BTreeMap::new();
    for record in records {
        page.line(&format!(
            "{}  {}, record {}",
            time(record),
            record.own("EVENT").unwrap_or("?"),
            record.own("SEQ").unwrap_or("?"),
        ));
        if let Some(message) = record.get("MESSAGE") {
            page.sentence("", message);
        }
        for (name, value) in ordered(record) {
            if shown_fields.insert(name, value) != Some(value) {
                match PROSE.contains(&name) {
                    true => page.sentence(&label(name), value),
                    false => page.value(&label(name), &shown(name, value)),
                }
            }
        }
    }
    page
}

fn time(record: &AuditRecord) -> String {
    record
        .time_ms()
        .map_or_else(|| "?".to_owned(), calendar::utc)
}

fn ordered(record: &AuditRecord) -> Vec<(&str, &str)> {
    let fields = record.entry.fields.iter();
    let mut own: Vec<(&str, &str)> = fields
        .filter_map(|(name, value)| Some((name.strip_prefix("REMIT_")?, value.as_str())))
        .filter(|(name, _)| !CHAIN.contains(name))
        .collect();
    let label_index = |name: &str| LABELS.iter().position(|(other, _)| *other == name);
    own.sort_by_key(|(name, _)| label_index(name).unwrap_or(usize::MAX));
    own
}

fn label(name: &str) -> String {
    let found = LABELS.iter().find(|(other, _)| *other == name);
    match found {
        Some((_, label)) => (*label).to_owned(),
        None => name.to_lowercase().replace('_', " "),
    }
}

fn shown(name: &str, value: &str) -> String {
    let Ok(number) = value.parse::<u64>() else {
        return value.to_owned();
    };
    match name {
        "RUNTIME_MS" | "WAITED_MS" => units::duration(number),
        "RUNTIME_MAX" => units::duration(number.saturating_mul(1000)),
        "CPU_USEC" => units::duration(number / 1000),
        "MEMORY_PEAK" => units::bytes(number),
        "OUTPUT_BYTES" if number >= 1024 => format!("{number} ({})", units::bytes(number)),
        "OUTPUT_BYTES" => units::count(number, "byte"),
        // Only values this large are milliseconds since 1970.
        "EXPIRES" if number > 1 << 32 => calendar::utc(number),
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_field_is_shown_once() {
        let records: Vec<AuditRecord> = [
            r#"{"MESSAGE":"alice runs","REMIT_EVENT":"intent","REMIT_SEQ":"2","REMIT_TIME":"2026-11-20T08:25:49.042Z","REMIT_ARGV":"df\n-h","REMIT_USER":"alice","REMIT_NEW_ONE":"x","REMIT_HASH":"ab"}"#,
            r#"{"MESSAGE":"it ended","REMIT_EVENT":"end","REMIT_SEQ":"3","REMIT_USER":"alice","REMIT_OUTPUT_BYTES":"2048","REMIT_RUNTIME_MS":"2450"}"#,
        ]
        .iter()
        .map(|line| AuditRecord::of_line(line.as_bytes(), 1))
        .collect();
        assert_eq!(
            page("7f3a", &["undone by 8f".to_owned()], &records).into_text(),
            "job 7f3a\nundone by 8f\n\
             2026-11-20 08:25:49 UTC  intent, record 2\n              | alice runs\n  \
             user        | alice\n  argv        | df\\n\n              + -h\n  new one     | x\n\
             ?  end, record 3\n              | it ended\n  runtime     | 2.4 s\n  \
             output      | 2048 (2.0 KiB)\n"
        );
    }

    #[test]
    fn field_that_changes_back_is_shown_again() {
        let records = [
            ("asked", "alice", "01"),
            ("refusal", "bob", "02"),
            ("approved", "alice", "01"),
            ("intent", "alice", "01"),
        ];
        let records = records.map(|(event, user, digest)| {
            let line = format!(
                r#"{{"REMIT_EVENT":"{event}","REMIT_USER":"{user}","REMIT_DIGEST":"{digest}"}}"#
            );
            AuditRecord::of_line(line.as_bytes(), 1)
        });
        let text = page("7f3a", &[], &records).into_text();
        let events = text.split("?  ").skip(1);
        let has_both = events.map(|part| part.contains("user ") && part.contains("digest "));
        assert_eq!(
            has_both.collect::<Vec<_>>(),
            [true, true, true, false],
            "{text}"
        );
    }

    #[test]
    fn refusals_hide_no_other_record_of_the_job() {
        let record = |seq: usize, event: &str| {
            let line = format!(r#"{{"REMIT_EVENT":"{event}","REMIT_SEQ":"{seq}"}}"#);
            AuditRecord::of_line(line.as_bytes(), 1)
        };
        for (refusals, left_out) in [(0, 0), (REFUSALS, 0), (REFUSALS + 7, 7)] {
            let mut records = JobRecords::default();
            records.take(record(1, "asked"));
            let flood = (2..).take(refusals).map(|seq| record(seq, "refusal"));
            flood.for_each(|refusal| records.take(refusal));
            let last = ["approved", "intent", "end"]
                .into_iter()
                .zip(refusals + 2..);
            last.for_each(|(event, seq)| records.take(record(seq, event)));
            let (shown, found) = records.finish();
            let numbers: Vec<u64> = shown.iter().filter_map(AuditRecord::seq).collect();
            let expect: Vec<u64> = [1]
                .into_iter()
                .chain(2 + left_out..refusals as u64 + 5)
                .collect();
            assert_eq!((numbers, found), (expect, left_out));
        }
    }

    #[test]
    fn every_label_fits_its_column() {
        for (name, label) in LABELS {
            assert!(label.len() <= 11 && !CHAIN.contains(&name), "{name}");
        }
    }
}
