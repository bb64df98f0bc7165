//! `remit audit show JOB`: the whole story of one job.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use remit_common::calendar;
use remit_common::refusal::{Code, Refusal};
use serde_json::json;

use super::export::Fields;
use super::filter::Filter;
use super::record::Record;
use super::source::Source;
use crate::app::Context;
use crate::args::TrailArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fold::Page;
use crate::human;
use crate::output::{self, Form};

/// Records of one job, at most; a job has fewer than ten.
const RECORDS: usize = 1000;

/// Fields and what people call them, in the order in which they are told. Those that are not here follow, by their
/// own names.
const LABELS: [(&str, &str); 45] = [
    ("USER", "user"),
    ("UID", "uid"),
    ("LOGINUID", "login uid"),
    ("SESSION", "session"),
    ("PEER", "peer"),
    ("CLIENT", "client says"),
    ("TRACEPARENT", "trace"),
    ("REQUEST_ID", "request"),
    ("COMMAND", "command"),
    ("ARGS", "its words"),
    ("ARGV", "argv"),
    ("REASON", "reason"),
    ("CWD", "directory"),
    ("SCRIPT", "script"),
    ("SCRIPT_SHA256", "script hash"),
    ("STDIN_SHA256", "stdin hash"),
    ("EXE", "program"),
    ("DIGEST", "digest"),
    ("VERDICT", "verdict"),
    ("RULE", "rule"),
    ("POLICY", "policy"),
    ("PROFILE", "profile"),
    ("EFFECT", "effect"),
    ("APPROVER", "approver"),
    ("APPROVER_UID", "their uid"),
    ("APPROVER_PEER", "their peer"),
    ("APPROVAL", "approval"),
    ("BY", "asked of"),
    ("EXPIRES", "until"),
    ("GRANT", "grant"),
    ("JOB_UID", "runs as uid"),
    ("ENFORCED", "sandbox"),
    ("RUNTIME_MAX", "at most"),
    ("WAITED_MS", "waited"),
    ("STATE", "state"),
    ("EXIT", "exit"),
    ("SIGNAL", "signal"),
    ("CAUSE", "cause"),
    ("RUNTIME_MS", "took"),
    ("CPU_USEC", "cpu time"),
    ("MEMORY_PEAK", "memory"),
    ("OUTPUT_BYTES", "output"),
    ("OUTPUT_SHA256", "output hash"),
    ("DENIALS", "denials"),
    ("KILL_VERIFIED", "end sure"),
];

/// What says where a record stands, and not what happened.
const CHAIN: [&str; 7] = ["EVENT", "JOB", "SEQ", "PREV", "HASH", "BOOT", "TIME"];

/// Tells it. Exit status 1 where no record is about such a job.
pub fn story(context: &Context, trail: &TrailArgs, begin: &str) -> Result<Exit, Failure> {
    let source = Source::of(trail)?;
    let mut records = Vec::new();
    source.some(&Filter::of_job(begin), &mut |record| {
        records.push(record);
        Ok(match records.len() < RECORDS {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        })
    })?;
    records.sort_by_key(Record::seq);
    let jobs: BTreeSet<&str> = records
        .iter()
        .filter_map(|record| record.ours("JOB"))
        .collect();
    let job = match jobs.iter().collect::<Vec<_>>().as_slice() {
        [job] => **job,
        [] => return none(context, begin),
        several => {
            let several: Vec<&str> = several.iter().take(8).map(|job| **job).collect();
            let text = format!("several jobs begin with {begin}: {}", several.join(", "));
            return Err(Failure::Machine(
                Refusal::new(Code::InvalidArgs, text).lift("give more digits"),
            ));
        }
    };
    match context.form {
        Form::Json => {
            let records: Vec<Fields<'_>> = records.iter().map(Fields).collect();
            output::json(&json!({ "job_id": job, "records": records }))?;
        }
        Form::Text => output::text(&page(job, &records))?,
    }
    Ok(Exit::OK)
}

fn none(context: &Context, begin: &str) -> Result<Exit, Failure> {
    let text = format!("no record is about a job {begin}");
    output::note(&text);
    if context.form == Form::Json {
        output::json(&json!({ "error": Refusal::new(Code::NotFound, text) }))?;
    }
    Ok(Exit::FOUND)
}

/// Each record with what it tells that those before it have not told.
fn page(job: &str, records: &[Record]) -> String {
    let mut page = Page::default();
    page.line(&format!("job {job}"));
    let mut told: BTreeSet<(&str, &str)> = BTreeSet::new();
    for record in records {
        page.line(&format!(
            "{}  {}, record {}",
            exact_time(record),
            record.ours("EVENT").unwrap_or("?"),
            record.ours("SEQ").unwrap_or("?"),
        ));
        if let Some(message) = record.get("MESSAGE") {
            page.sentence("", message);
        }
        for (name, value) in ordered(record) {
            if told.insert((name, value)) {
                page.value(&label(name), &shown(name, value));
            }
        }
    }
    page.into_text()
}

/// A record's time to the millisecond.
fn exact_time(record: &Record) -> String {
    let Some(ms) = record.time_ms() else {
        return "?".to_owned();
    };
    let text = human::time(ms / 1000);
    format!("{}.{:03}Z", text.trim_end_matches('Z'), ms % 1000)
}

/// What a record tells, in the order of [`LABELS`].
fn ordered(record: &Record) -> Vec<(&str, &str)> {
    let fields = record.entry.fields.iter();
    let mut ours: Vec<(&str, &str)> = fields
        .filter_map(|(name, value)| Some((name.strip_prefix("REMIT_")?, value.as_str())))
        .filter(|(name, _)| !CHAIN.contains(name))
        .collect();
    let place = |name: &str| LABELS.iter().position(|(other, _)| *other == name);
    ours.sort_by_key(|(name, _)| place(name).unwrap_or(usize::MAX));
    ours
}

fn label(name: &str) -> String {
    let found = LABELS.iter().find(|(other, _)| *other == name);
    match found {
        Some((_, label)) => (*label).to_owned(),
        None => name.to_lowercase().replace('_', " "),
    }
}

/// Numbers with their units.
fn shown(name: &str, value: &str) -> String {
    let Ok(number) = value.parse::<u64>() else {
        return value.to_owned();
    };
    match name {
        "RUNTIME_MS" | "WAITED_MS" => human::duration(number),
        "RUNTIME_MAX" => human::duration(number.saturating_mul(1000)),
        "CPU_USEC" => human::duration(number / 1000),
        "MEMORY_PEAK" => human::bytes(number),
        "OUTPUT_BYTES" if number >= 1024 => format!("{number} ({})", human::bytes(number)),
        "OUTPUT_BYTES" => human::count(number, "byte"),
        // The one with milliseconds since 1970.
        "EXPIRES" if number > 1 << 32 => calendar::utc(number),
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_not_told_again() {
        let records: Vec<Record> = [
            r#"{"MESSAGE":"alice runs","REMIT_EVENT":"intent","REMIT_SEQ":"2","REMIT_TIME":"2026-11-20T08:25:49.042Z","REMIT_ARGV":"df\n-h","REMIT_USER":"alice","REMIT_NEW_ONE":"x","REMIT_HASH":"ab"}"#,
            r#"{"MESSAGE":"it ended","REMIT_EVENT":"end","REMIT_SEQ":"3","REMIT_USER":"alice","REMIT_OUTPUT_BYTES":"2048","REMIT_RUNTIME_MS":"2450"}"#,
        ]
        .iter()
        .map(|line| Record::of_line(line.as_bytes(), 1))
        .collect();
        assert_eq!(
            page("7f3a", &records),
            "job 7f3a\n\
             2026-11-20 08:25:49.042Z  intent, record 2\n              | alice runs\n  \
             user        | alice\n  argv        | df\\n\n              + -h\n  new one     | x\n\
             ?  end, record 3\n              | it ended\n  took        | 2.4 s\n  \
             output      | 2048 (2.0 KiB)\n"
        );
    }

    #[test]
    fn every_label_fits_its_column() {
        for (name, label) in LABELS {
            assert!(label.len() <= 11 && !CHAIN.contains(&name), "{name}");
        }
    }
}
