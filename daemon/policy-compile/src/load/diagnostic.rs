//! Shows where a finding is, and collects findings.

use std::ops::Range;

use remit_common::text::is_plain;
use remit_policy::{Diagnostic, Excerpt, Severity};

/// Maximum number of characters shown of a line; in a longer line, the characters shown before the span.
const WINDOW: usize = 100;
const BEFORE: usize = 40;

/// Returns the line in which the span begins, with the span underlined.
pub(crate) fn excerpt(text: &str, span: Range<usize>) -> Excerpt {
    let start = char_start(text, span.start);
    let end = char_start(text, span.end).max(start);
    let (before, rest) = text.split_at_checked(start).unwrap_or((text, ""));
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let lead = before.get(line_start..).unwrap_or_default();
    let lead_chars = lead.chars().count();
    let rest_of_line = rest
        .split('\n')
        .next()
        .unwrap_or_default()
        .trim_end_matches('\r');
    let spanned = text.get(start..end).unwrap_or_default();
    let spanned = spanned.split('\n').next().unwrap_or_default();

    let fits = lead_chars + rest_of_line.chars().count() <= WINDOW;
    let cut = if fits {
        0
    } else {
        lead_chars.saturating_sub(BEFORE)
    };
    let skip = lead_chars - cut;
    let max_width = WINDOW - skip;
    let shown = lead
        .chars()
        .skip(cut)
        .chain(rest_of_line.chars().take(max_width));
    Excerpt {
        line,
        column: lead_chars + 1,
        shown: shown.map(plain).collect::<String>().trim_end().to_owned(),
        skip,
        width: spanned.chars().count().clamp(1, max_width.max(1)),
    }
}

fn char_start(text: &str, index: usize) -> usize {
    (0..=index.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

/// Replaces a character that is unsafe for a terminal, one for one, so that underlines fit.
fn plain(char: char) -> char {
    match char {
        '\t' => ' ',
        _ if is_plain(char) => char,
        _ => char::REPLACEMENT_CHARACTER,
    }
}

/// Collects findings, at most [`Findings::MOST`] of each severity: a file of mistakes must not fill the memory.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    kept: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
}

impl Findings {
    const MOST: usize = 100;

    pub(crate) fn push(
        &mut self,
        severity: Severity,
        file: &str,
        finding: impl FnOnce() -> Diagnostic,
    ) {
        let count = match severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *count += 1;
        if *count <= Self::MOST {
            self.kept.push(finding());
        } else if *count == Self::MOST + 1 {
            let text = format!(
                "more than {} findings in all; the others are not shown",
                Self::MOST
            );
            self.kept.push(Diagnostic::whole(severity, file, text));
        }
    }

    pub(crate) fn refuse_file(&mut self, file: &str, message: impl Into<String>) {
        self.push(Severity::Error, file, || {
            Diagnostic::whole(Severity::Error, file, message)
        });
    }

    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    /// Returns true if further errors are only counted.
    pub(crate) fn is_full(&self) -> bool {
        self.errors.max(self.warnings) >= Self::MOST
    }

    pub(crate) fn sorted(mut self) -> Vec<Diagnostic> {
        self.kept.sort_by(|a, b| a.key().cmp(&b.key()));
        self.kept.dedup();
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn span_is_located_and_underlined() {
        let check = |text: &str, span: Range<usize>, expect: &str| {
            let found = Diagnostic::at(Severity::Error, "f", excerpt(text, span), "m".into());
            assert_eq!(found.to_string(), expect, "{text:?}");
        };
        check("ab = 1", 0..2, "f:1:1: error: m\n  1 | ab = 1\n    | ^^");
        check(
            "a\nb = é é",
            9..11,
            "f:2:7: error: m\n  2 | b = é é\n    |       ^",
        );
        check("a\r\nb\r\n", 3..4, "f:2:1: error: m\n  2 | b\n    | ^");
        check("a", 1..1, "f:1:2: error: m\n  1 | a\n    |  ^");
        check("", 0..0, "f:1:1: error: m\n  1 | \n    | ^");
        check("ab\ncd", 0..5, "f:1:1: error: m\n  1 | ab\n    | ^^");
        check(
            "\u{1b}[2J\tx",
            0..1,
            "f:1:1: error: m\n  1 | \u{fffd}[2J x\n    | ^",
        );
        check("a", 70..90, "f:1:2: error: m\n  1 | a\n    |  ^");
        check("é", 1..2, "f:1:1: error: m\n  1 | é\n    | ^");
    }

    #[test]
    fn a_long_line_is_shown_in_part() {
        let text = "x".repeat(100_000);
        let shown = Diagnostic::at(
            Severity::Error,
            "f",
            excerpt(&text, 50_000..90_000),
            "m".into(),
        );
        assert_eq!(shown.column(), Some(50_001));
        assert!(shown.to_string().len() < 300, "{shown}");
    }

    #[test]
    fn findings_are_bounded_but_all_errors_count() {
        let mut findings = Findings::default();
        for at in 0..1000 {
            findings.refuse_file("f", at.to_string());
        }
        assert_eq!(findings.errors(), 1000);
        assert_eq!(findings.sorted().len(), Findings::MOST + 1);
    }
}
