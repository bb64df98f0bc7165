//! Names and summaries of what policy files define.

use remit_common::text::is_plain;

use crate::load::reader::{Placed, Report};

/// Bytes of a name.
pub(crate) const NAME: usize = 64;
/// Bytes of a summary.
const SUMMARY: usize = 256;

/// Whether a command, profile or argument can have this name: 1 to 64 of `a-z 0-9 . _ -`, a letter
/// first.
pub(crate) fn is_name(name: &str) -> bool {
    is_rule_name(name) && name.starts_with(|first: char| first.is_ascii_lowercase())
}

/// Whether a rule can have this name: a digit may be first, too.
pub(crate) fn is_rule_name(name: &str) -> bool {
    name.len() <= NAME
        && name.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && name.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte)
        })
}

/// A summary: one line that a terminal can show. Empty when there is none or it is none.
pub(crate) fn summary(given: Option<Placed<&str>>, report: &mut Report<'_>) -> String {
    let Some(given) = given else {
        return String::new();
    };
    let plain = |char: char| is_plain(char) && char != '\n' && char != '\t';
    let why = if given.value.len() > SUMMARY {
        format!(
            "the summary has {} bytes, over {SUMMARY}",
            given.value.len()
        )
    } else if !given.value.chars().all(plain) {
        "a summary is one line without control and invisible characters".into()
    } else if given.value.trim() != given.value || given.value.is_empty() {
        "a summary is not empty and has no spaces around it".into()
    } else {
        return given.value.to_owned();
    };
    report.error(given.span, why);
    String::new()
}
