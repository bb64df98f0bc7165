use remit_common::text::is_plain;
use remit_policy::model::bounds::SUMMARY;

use crate::load::reader::{Report, WithSpan};

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
