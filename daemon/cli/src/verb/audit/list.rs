//! `remit audit show`: the newest records, a line each.

use std::io::{self, Write};

use remit_common::text;
use serde_json::json;

use super::export::Fields;
use super::filter::Filter;
use super::record::Record;
use super::source::Source;
use crate::app::Context;
use crate::args::RecordsArgs;
use crate::colour::Colour;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Form};
use crate::{colour, fold, human};

/// The longest command or sentence in a line, in columns.
const WHAT: usize = 200;
/// Columns of names and of verdicts, at most.
const NAME: usize = 16;
const VERDICT: usize = 18;
/// No record says who.
const NOBODY: &str = "-";

/// Lists them.
pub fn list(context: &Context, args: &RecordsArgs) -> Result<Exit, Failure> {
    let source = Source::of(&args.trail)?;
    let filter = Filter::of(&args.filter);
    let count = usize::try_from(args.lines).unwrap_or(usize::MAX);
    let (records, more) = source.newest(&filter, count)?;
    match context.form {
        Form::Json => {
            let records: Vec<Fields<'_>> = records.iter().map(Fields).collect();
            output::json(&json!({ "records": records, "older": more }))?;
        }
        Form::Text if records.is_empty() => output::text("no records\n")?,
        Form::Text => {
            let lines = lines(&records, colour::is_wanted());
            io::stdout().lock().write_all(lines.as_bytes())?;
        }
    }
    Ok(Exit::OK)
}

/// Each record's line, its columns under each other. The last one is the caller's text.
fn lines(records: &[Record], coloured: bool) -> String {
    let rows: Vec<[String; 5]> = records.iter().map(row).collect();
    let width = |column: usize, most: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
            .min(most)
    };
    let (who, event, verdict) = (width(0, NAME), width(1, NAME), width(2, VERDICT));
    let mut text = String::new();
    for (record, row) in records.iter().zip(&rows) {
        let [name, kind, said, job, what] = row;
        let middle = format!("{}  {}", fold::cell(kind, event), fold::cell(said, verdict));
        let middle = match coloured {
            true => colour(record).paint(&middle),
            false => middle,
        };
        let line = format!(
            "{}  {}  {middle}  {job:<8}  {}",
            time(record),
            fold::cell(name, who),
            fold::cut(what, WHAT),
        );
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// When, for people.
pub fn time(record: &Record) -> String {
    record
        .time_ms()
        .map_or_else(|| format!("{:<20}", "?"), |ms| human::time(ms / 1000))
}

/// Who, what, with which verdict, which job, and the command or a sentence. Each is one printable line.
fn row(record: &Record) -> [String; 5] {
    if let Some(why) = record.why {
        let cells = [NOBODY, "unreadable", "", "", why];
        return cells.map(str::to_owned);
    }
    let plain = |text: &str| text::line(text.as_bytes(), 4 * WHAT);
    let ours = |name: &str| record.ours(name).unwrap_or_default();
    let who = match (ours("USER"), ours("UID")) {
        ("", "") => NOBODY,
        ("", uid) => uid,
        (user, _) => user,
    };
    let command = record.command();
    let what = command.as_deref().or_else(|| record.get("MESSAGE"));
    let job: String = ours("JOB").chars().take(8).collect();
    let cells = [
        who,
        ours("EVENT"),
        &verdict(record),
        &job,
        what.unwrap_or_default(),
    ];
    cells.map(plain)
}

/// What became of it: how a job ended, or what was decided.
fn verdict(record: &Record) -> String {
    let ours = |name: &str| record.ours(name);
    match (ours("STATE"), ours("EXIT"), ours("SIGNAL")) {
        (Some(state), Some(exit), _) => format!("{state} {exit}"),
        (Some(state), None, Some(signal)) => format!("{state} {signal}"),
        (Some(state), None, None) => state.to_owned(),
        (None, _, _) => ours("VERDICT").unwrap_or_default().to_owned(),
    }
}

fn colour(record: &Record) -> Colour {
    let has_failed = |state: &str| !matches!(state, "exited" | "cancelled");
    match record.ours("EVENT").unwrap_or_default() {
        "refusal" | "interrupted" | "broker" | "ledger" | "void" | "trail" => Colour::Red,
        "end" if record.ours("STATE").is_some_and(has_failed) => Colour::Red,
        "end" | "start" | "stop" | "queued" => Colour::Dim,
        "intent" if record.ours("EFFECT") == Some("change") => Colour::Green,
        "intent" => Colour::Plain,
        "" => Colour::Red,
        _ => Colour::Yellow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<Record> {
        [
            r#"{"MESSAGE":"remitd serves","REMIT_EVENT":"start","REMIT_SEQ":"1","REMIT_TIME":"2026-11-20T08:25:48.042Z"}"#,
            r#"{"MESSAGE":"x","REMIT_EVENT":"intent","REMIT_SEQ":"2","REMIT_TIME":"2026-11-20T08:25:49.042Z","REMIT_USER":"alice","REMIT_UID":"1000","REMIT_VERDICT":"allow","REMIT_JOB":"7f3a91c2000000000000000000000000","REMIT_ARGV":"df -h","REMIT_EFFECT":"change"}"#,
            r#"{"MESSAGE":"x","REMIT_EVENT":"end","REMIT_SEQ":"3","REMIT_TIME":"2026-11-20T08:25:50.042Z","REMIT_USER":"alice","REMIT_STATE":"exited","REMIT_EXIT":"0","REMIT_JOB":"7f3a91c2000000000000000000000000","REMIT_ARGV":"df \u001b[2J\u009b\u202e\n-h"}"#,
            "{\"MESSAGE\":",
        ]
        .iter()
        .map(|line| Record::of_line(line.as_bytes(), 1))
        .collect()
    }

    #[test]
    fn each_record_is_a_line() {
        assert_eq!(
            lines(&records(), false),
            "2026-11-20 08:25:48Z  -      start                           remitd serves\n\
             2026-11-20 08:25:49Z  alice  intent      allow     7f3a91c2  df -h\n\
             2026-11-20 08:25:50Z  alice  end         exited 0  7f3a91c2  df \\x1b[2J\\u{9b}\\u{202e}\\n-h\n\
             ?                     -      unreadable                      the line is no JSON object\n"
        );
    }

    #[test]
    fn colours_are_ours_alone() {
        let text = lines(&records(), true);
        let left = ["\x1b[2m", "\x1b[0m", "\x1b[32m", "\x1b[31m"]
            .iter()
            .fold(text.clone(), |text, code| text.replace(code, ""));
        assert_ne!(left, text);
        assert_eq!(left, lines(&records(), false));
    }
}
