//! `remit audit show` lists the newest records. `remit audit export` prints them as JSON Lines, to be verified elsewhere.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

use remit_common::text;
use serde::Serializer;
use serde::ser::{Serialize, SerializeMap};
use serde_json::json;

use super::filter::Filter;
use super::record::AuditRecord;
use super::shown_check::ShownCheck;
use super::source::RecordSource;
use crate::args::{ExportArgs, Format, RecordsArgs};
use crate::error::{Exit, Failure};
use crate::render::output::{self, Context, Form};
use crate::render::units::{self, Colour, Width};
use crate::render::untrusted_columns;

/// Columns of a command or sentence.
const WHAT: usize = 200;
/// Maximum columns of names and verdicts.
const NAME: usize = 16;
const VERDICT: usize = 28;
/// Time, job and the spaces between columns.
const OTHERS: usize = 41;
/// On a narrow terminal, a command has at least this, and a name is not cut below the other.
const WHAT_LEAST: usize = 18;
const NAME_LEAST: usize = 8;
const NO_USER: &str = "-";

pub fn list(context: &Context, args: &RecordsArgs) -> Result<Exit, Failure> {
    let source = RecordSource::of(context, &args.source_args)?;
    let filter = Filter::of(&args.filter);
    let count = usize::try_from(args.lines).unwrap_or(usize::MAX);
    let (records, more) = source.newest(&filter, count)?;
    filter.only_job(&records)?;
    match context.form {
        Form::Json => {
            let records: Vec<Fields<'_>> = records.iter().map(Fields).collect();
            output::json(&json!({ "records": records, "older": more }))?;
        }
        Form::Text if records.is_empty() => output::text("no records\n")?,
        Form::Text => {
            let lines = lines(&records, units::is_color_wanted(), context.width);
            output::painted(&lines)?;
            if more {
                output::note("older records match: -n N shows more, --until TIME older ones");
            }
        }
    }
    let mut check = ShownCheck::new(filter.is_for_all());
    records.iter().for_each(|record| check.take(record));
    if let Some(found) = check.finish() {
        output::note(&found);
    }
    Ok(Exit::OK)
}

fn lines(records: &[AuditRecord], coloured: bool, limit: Width) -> String {
    let rows: Vec<[String; 5]> = records.iter().map(row).collect();
    let width = |column: usize, most: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let shown = cells.map(|cell| untrusted_columns::cut(cell, most));
        shown
            .map(|cell| untrusted_columns::columns(&cell))
            .max()
            .unwrap_or(0)
    };
    let own = [width(0, NAME), width(1, NAME), width(2, VERDICT)];
    let ([subject, event, verdict], what_width) = fitted(own, limit);
    let mut text = String::new();
    for (record, row) in records.iter().zip(&rows) {
        let [name, kind, said, job, what] = row;
        let middle = format!(
            "{}  {}",
            untrusted_columns::cell(kind, event),
            untrusted_columns::cell(said, verdict)
        );
        let middle = match coloured {
            true => colour(record).paint(&middle),
            false => middle,
        };
        let line = format!(
            "{}  {}  {middle}  {job:<8}  {}",
            time(record),
            untrusted_columns::cell(name, subject),
            untrusted_columns::cut(what, what_width),
        );
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Narrows names and verdicts, always the widest, until the command column fits. Returns their widths and its width.
fn fitted(mut own: [usize; 3], limit: Width) -> ([usize; 3], usize) {
    let Some(limit) = limit.limit() else {
        return (own, WHAT);
    };
    loop {
        let used = own.iter().sum::<usize>() + OTHERS;
        let left = limit.saturating_sub(used);
        match own.iter_mut().max() {
            Some(widest) if left < WHAT_LEAST && *widest > NAME_LEAST => *widest -= 1,
            Some(_) | None => return (own, left.min(WHAT)),
        }
    }
}

pub fn time(record: &AuditRecord) -> String {
    record
        .time_ms()
        .map_or_else(|| format!("{:<23}", "?"), |ms| units::time(ms / 1000))
}

/// Returns user, event, verdict, job, and the command or a sentence. Each is one printable line.
fn row(record: &AuditRecord) -> [String; 5] {
    if let Some(why) = record.why {
        let cells = [NO_USER, "unreadable", "", "", why];
        return cells.map(str::to_owned);
    }
    let plain = |text: &str| text::line(text.as_bytes(), 4 * WHAT);
    let own = |name: &str| record.own(name).unwrap_or_default();
    let subject = match (own("USER"), own("UID")) {
        ("", "") => NO_USER,
        ("", uid) => uid,
        (user, _) => user,
    };
    let command = record.command();
    let what = command.as_deref().or_else(|| record.get("MESSAGE"));
    let job: String = own("JOB").chars().take(8).collect();
    let cells = [
        subject,
        own("EVENT"),
        &verdict(record),
        &job,
        what.unwrap_or_default(),
    ];
    cells.map(plain)
}

/// Returns the person of a decision, as the event says what it was; of all else, how it ended or the verdict.
fn verdict(record: &AuditRecord) -> String {
    let own = |name: &str| record.own(name);
    if let (Some("approved" | "denied"), Some(by)) = (own("EVENT"), own("APPROVER")) {
        let which = own("APPROVALS").map_or_else(String::new, |which| format!(" ({which})"));
        return format!("by {by}{which}");
    }
    let word = record.word().unwrap_or_default();
    let number = own("EXIT").or(own("SIGNAL"));
    match (own("STATE"), number) {
        (Some(_), Some(number)) => format!("{word} {number}"),
        (_, _) => word.to_owned(),
    }
}

fn colour(record: &AuditRecord) -> Colour {
    let has_failed = |state: &str| !matches!(state, "exited" | "cancelled");
    match record.own("EVENT").unwrap_or_default() {
        "refusal" | "interrupted" | "broker" | "ledger" | "void" | "trail" => Colour::Red,
        "end" if record.own("STATE").is_some_and(has_failed) => Colour::Red,
        "end" | "start" | "stop" | "queued" => Colour::Dim,
        "intent" if record.own("EFFECT") == Some("change") => Colour::Green,
        "intent" => Colour::Plain,
        "" => Colour::Red,
        _ => Colour::Yellow,
    }
}

pub struct Fields<'a>(pub &'a AuditRecord);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let AuditRecord { entry, why, .. } = self.0;
        if let Some(why) = why {
            let mut map = serializer.serialize_map(Some(2))?;
            map.serialize_entry("unreadable", why)?;
            map.serialize_entry("place", &entry.position)?;
            return map.end();
        }
        let fields = &entry.fields;
        let mut map = serializer.serialize_map(Some(fields.len()))?;
        for (name, value) in fields {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Prints the records. An unreadable record is reported on stderr, and the exit status is 1.
pub fn export(context: &Context, args: &ExportArgs) -> Result<Exit, Failure> {
    let Format::Jsonl = args.format;
    let source = RecordSource::of(context, &args.source_args)?;
    let filter = Filter::of(&args.filter);
    let mut exit = Exit::OK;
    let mut check = ShownCheck::new(filter.is_for_all());
    let mut to = BufWriter::new(io::stdout().lock());
    let mut print = |record: &AuditRecord| {
        check.take(record);
        match record.why {
            Some(why) => {
                output::note(&format!("left out: {}: {why}", record.entry.position));
                exit = Exit::FOUND;
            }
            None => {
                let line = output::json_line(&Fields(record)).map_err(io::Error::other)?;
                writeln!(to, "{line}")?;
            }
        }
        Ok::<(), Failure>(())
    };
    // A job has few records. All are read before the first is printed, because an ambiguous id is an error.
    let mut of_job = Vec::new();
    source.some(&filter, &mut |record| {
        match args.filter.job {
            Some(_) => of_job.push(record),
            None => print(&record)?,
        }
        Ok(ControlFlow::Continue(()))
    })?;
    filter.only_job(&of_job)?;
    of_job.iter().try_for_each(print)?;
    to.flush()?;
    if let Some(found) = check.finish() {
        output::note(&found);
    }
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<AuditRecord> {
        [
            r#"{"MESSAGE":"remitd serves","REMIT_EVENT":"start","REMIT_SEQ":"1","REMIT_TIME":"2026-11-20T08:25:48.042Z"}"#,
            r#"{"MESSAGE":"x","REMIT_EVENT":"intent","REMIT_SEQ":"2","REMIT_TIME":"2026-11-20T08:25:49.042Z","REMIT_USER":"alice","REMIT_UID":"1000","REMIT_VERDICT":"allow","REMIT_JOB":"7f3a91c2000000000000000000000000","REMIT_ARGV":"df -h","REMIT_EFFECT":"change"}"#,
            r#"{"MESSAGE":"x","REMIT_EVENT":"end","REMIT_SEQ":"3","REMIT_TIME":"2026-11-20T08:25:50.042Z","REMIT_USER":"alice","REMIT_STATE":"exited","REMIT_EXIT":"0","REMIT_JOB":"7f3a91c2000000000000000000000000","REMIT_ARGV":"df \u001b[2J\u009b\u202e\n-h"}"#,
            "{\"MESSAGE\":",
        ]
        .iter()
        .map(|line| AuditRecord::of_line(line.as_bytes(), 1))
        .collect()
    }

    #[test]
    fn each_record_is_a_line() {
        assert_eq!(
            lines(&records(), false, Width::UNLIMITED),
            "2026-11-20 08:25:48 UTC  -      start                           remitd serves\n\
             2026-11-20 08:25:49 UTC  alice  intent      allow     7f3a91c2  df -h\n\
             2026-11-20 08:25:50 UTC  alice  end         exited 0  7f3a91c2  df \\x1b[2J\\u{9b}\\u{202e}\\n-h\n\
             ?                        -      unreadable                      the line is no JSON object\n"
        );
    }

    #[test]
    fn decisions_have_their_person() {
        let of = |event: &str, more: &str| {
            let line = format!(
                r#"{{"REMIT_EVENT":"{event}","REMIT_USER":"agent","REMIT_ARGV":"x","REMIT_STATE":"{event}"{more}}}"#
            );
            AuditRecord::of_line(line.as_bytes(), 1)
        };
        for (event, more, expect) in [
            ("approved", r#","REMIT_APPROVER":"cat""#, "by cat"),
            (
                "approved",
                r#","REMIT_APPROVER":"ann","REMIT_APPROVALS":"2 of 2""#,
                "by ann (2 of 2)",
            ),
            ("denied", r#","REMIT_APPROVER":"cat""#, "by cat"),
            ("approved", "", "approved"),
            // Its approver gave the grant, and did not end it.
            ("expired", r#","REMIT_APPROVER":"cat""#, "expired"),
        ] {
            let [user, own, verdict, ..] = row(&of(event, more));
            assert_eq!([user.as_str(), &own, &verdict], ["agent", event, expect]);
        }
    }

    #[test]
    fn unreadable_record_says_why_and_where() {
        let garbage = AuditRecord::of_line(b"{\"MESSAGE\":", 1);
        assert_eq!(
            serde_json::to_value(Fields(&garbage)).unwrap(),
            json!({ "unreadable": "the line is no JSON object", "place": "line 1" })
        );
    }

    #[test]
    fn names_in_other_letters_are_whole() {
        let names = [
            "m\u{fc}ller",
            "m\u{fc}lhau",
            "m\u{fc}llen",
            "\u{6f22}\u{5b57}",
        ];
        let records = names.map(|name| {
            let line = format!(r#"{{"REMIT_EVENT":"end","REMIT_USER":"{name}"}}"#);
            AuditRecord::of_line(line.as_bytes(), 1)
        });
        let text = lines(&records, false, Width::UNLIMITED);
        assert!(names.iter().all(|name| text.contains(name)), "{text}");
    }

    #[test]
    fn records_fit_the_terminal() {
        let mut all = records();
        let long = r#"{"REMIT_EVENT":"interrupted","REMIT_USER":"a-long-name-of-a-user","REMIT_VERDICT":"needs_approval_by_all","REMIT_JOB":"7f3a91c2000000000000000000000000","REMIT_ARGV":"a command that is much longer than the rest of the line"}"#;
        all.push(AuditRecord::of_line(long.as_bytes(), 1));
        let text = lines(&all, false, Width::columns(80));
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        assert!(text.contains("a command"), "{text}");
    }

    #[test]
    fn colours_come_from_remit_only() {
        let text = lines(&records(), true, Width::UNLIMITED);
        let left = ["\x1b[2m", "\x1b[0m", "\x1b[32m", "\x1b[31m"]
            .iter()
            .fold(text.clone(), |text, code| text.replace(code, ""));
        assert_ne!(left, text);
        assert_eq!(left, lines(&records(), false, Width::UNLIMITED));
    }
}
