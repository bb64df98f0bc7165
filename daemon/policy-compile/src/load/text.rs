//! Reads documents and their texts: names, summaries, and the tables `env` of profiles and commands.

use std::collections::BTreeMap;

use remit_common::caps;
use remit_common::text::is_plain;
use remit_policy::model::bounds::SUMMARY;
use remit_policy::model::paths::{NO_PATTERNS, NO_PATTERNS_HELP, looks_like_pattern};
use remit_policy::{Source, quoted};
use toml::Spanned;
use toml::de::DeTable;

use super::reader::{Fields, Report, WithSpan, mistyped, string};
use super::suggestion::Findings;

pub(crate) const NAME: usize = 64;

/// Returns true if a command, profile or argument can have this name: 1 to 64 of `a-z 0-9 . _ -`, a letter first.
pub(crate) fn is_name(name: &str) -> bool {
    is_rule_name(name) && name.starts_with(|first: char| first.is_ascii_lowercase())
}

pub(crate) fn is_rule_name(name: &str) -> bool {
    name.len() <= NAME
        && name.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && name.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte)
        })
}

/// Returns a summary: one line that a terminal can show. Empty if it is missing or invalid.
pub(crate) fn summary(field: Option<WithSpan<&str>>, report: &mut Report<'_>) -> String {
    let Some(field) = field else {
        return String::new();
    };
    let plain = |char: char| is_plain(char) && char != '\n' && char != '\t';
    let why = if field.value.len() > SUMMARY {
        format!(
            "the summary has {} bytes, over {SUMMARY}",
            field.value.len()
        )
    } else if !field.value.chars().all(plain) {
        "a summary is one line without control and invisible characters".into()
    } else if field.value.trim() != field.value || field.value.is_empty() {
        "a summary is not empty and has no spaces around it".into()
    } else {
        return field.value.to_owned();
    };
    let help = "write one short line, as summary = \"Check an nginx configuration\"";
    report.error_with_help(field.span, why, help);
    String::new()
}

/// Set by no table: env(1) finds a script's interpreter on it, and only that one was trusted and seen by an approver.
pub(crate) const PATH: &str = "PATH";

/// Reads the table `env`, if it exists. Any name but `PATH` is accepted: only root writes a policy.
pub(crate) fn variables(
    fields: &mut Fields<'_>,
    report: &mut Report<'_>,
) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (name, value) in fields.entries("env", report) {
        let Some(text) = string(value) else {
            mistyped(name.value, "a string", value, report);
            continue;
        };
        if !is_variable(name.value) {
            let message = format!("{} is not the name of a variable", quoted(name.value));
            let help = "letters, digits and '_', no digit first";
            report.error_with_help(name.span, message, help);
        } else if name.value == PATH {
            let message = "'PATH' is the same for every job: programs and what interprets them are found, trusted \
                           and approved on it";
            let help = "name programs by their whole path, or set PATH in a script of root's";
            report.error_with_help(name.span, message.into(), help);
        } else if text.value.contains('\0') {
            let message = "a variable cannot have a NUL in it".into();
            report.error_with_help(text.span, message, "delete the NUL");
        } else if name.value.len() + 1 + text.value.len() >= caps::ENV_ELEMENT {
            let message = format!("a variable has at most {} bytes", caps::ENV_ELEMENT);
            report.error_with_help(
                text.span,
                message,
                "write a shorter value, or a file that the program reads",
            );
        } else if found.len() == caps::ENV_COUNT {
            let message = format!("there are more than {} variables", caps::ENV_COUNT);
            report.error_with_help(name.span, message, "delete some of them");
            break;
        } else {
            found.insert(name.value.to_owned(), text.value.to_owned());
        }
    }
    found
}

pub(crate) fn is_variable(name: &str) -> bool {
    name.len() <= caps::NAME
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

pub(crate) struct Document<'a> {
    name: &'a str,
    text: &'a str,
    lines: Vec<usize>,
    table: Spanned<DeTable<'a>>,
}

impl<'a> Document<'a> {
    pub(crate) fn parse(source: &'a Source, findings: &mut Findings) -> Option<Self> {
        let name = source.name.as_str();
        let text = text(source, findings)?;
        let lines = Report::lines(text);
        let (table, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            return Some(Self {
                name,
                text,
                lines,
                table,
            });
        }
        // The rest of a file that does not parse would only mislead.
        let mut report = Report::new(name, text, &lines, findings);
        for error in errors {
            let span = error.span().unwrap_or(text.len()..text.len());
            let message = error.message().replace('`', "'");
            let help = way_out(&message, text.get(span.start..).unwrap_or_default());
            report.error_with_help(span, message, help);
        }
        None
    }

    pub(crate) fn open<'s>(&'s self, findings: &'s mut Findings) -> (Fields<'s>, Report<'s>) {
        let fields = Fields::new("a policy file", 0..0, self.table.get_ref());
        let report = Report::new(self.name, self.text, &self.lines, findings);
        (fields, report)
    }
}

fn text<'a>(source: &'a Source, findings: &mut Findings) -> Option<&'a str> {
    let refusal = if source.text.len() > caps::POLICY_FILE {
        format!(
            "the file has {} bytes, over {}",
            source.text.len(),
            caps::POLICY_FILE
        )
    } else if source.text.starts_with(b"\xef\xbb\xbf") {
        "the file begins with a byte order mark; save it as plain UTF-8".into()
    } else if let Some(at) = source.text.iter().position(|byte| *byte == 0) {
        format!("the file has a NUL at byte {at}, so it is not text")
    } else {
        match std::str::from_utf8(&source.text) {
            Ok(text) => return Some(text),
            Err(error) => {
                let good = source.text.get(..error.valid_up_to()).unwrap_or_default();
                let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
                format!("the file is not UTF-8 at byte {} (line {line})", good.len())
            }
        }
    };
    findings.refuse_file(&source.name, refusal);
    None
}

/// Returns what to write instead of text that is not TOML.
fn way_out(message: &str, found: &str) -> &'static str {
    if message.contains("escape") {
        "write single quotes, where a backslash is literal: pattern = '\\d+'"
    } else if message.contains("duplicate") {
        "delete one of them; each rule or command begins with its own [[grant]], [[deny]] or [[command]] line"
    } else if found.starts_with(['\u{201c}', '\u{201d}', '\u{2018}', '\u{2019}']) {
        "write straight quotes: \" or '"
    } else if message.contains("quoted") || message.contains("string") {
        "write text in double quotes, as name = \"nginx.test\""
    } else {
        "write KEY = VALUE on each line: text in quotes, lists as [\"a\", \"b\"], tables as { key = \"value\" }"
    }
}

/// Warns of a path that looks like a pattern. No error, because such names may exist.
pub(crate) fn warn_of_pattern(path: &WithSpan<&str>, report: &mut Report<'_>) {
    if looks_like_pattern(path.value) {
        let message = format!("{}: {NO_PATTERNS}", quoted(path.value));
        report.warning(path.span.clone(), message, Some(NO_PATTERNS_HELP));
    }
}
