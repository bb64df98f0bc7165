//! Reads texts: names, summaries, and the tables `env` of profiles and commands, which have fixed variables that an
//! administrator writes.

use std::collections::BTreeMap;

use remit_common::caps;
use remit_common::text::is_plain;
use remit_policy::model::bounds::SUMMARY;
use remit_policy::quoted;

use crate::load::reader::{Fields, Report, WithSpan, mistyped, string};

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

/// The one variable that no table sets. env(1) finds the interpreter of a script on it: a second value would run
/// another program than the one that the load trusted and an approver saw.
const PATH: &str = "PATH";

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

fn is_variable(name: &str) -> bool {
    name.len() <= caps::NAME
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
