//! What is wrong with a policy file, and where.

use std::fmt;
use std::ops::Range;

use remit_common::text::{is_plain, line};

/// How grave a [`Diagnostic`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The load is refused.
    Error,
    /// The load goes on; a human should look.
    Warning,
}

/// Where in a file: a line, and the part of it to underline.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    line: usize,
    column: usize,
    /// The line, or a window of it, safe for a terminal.
    shown: String,
    /// Characters of `shown` before the underline.
    skip: usize,
    /// Characters to underline, at least 1.
    width: usize,
}

/// One finding about one file, as `Display` writes it:
///
/// ```text
/// /etc/remit/policy.d/20-web.toml:3:1: error: [[grant]] has no key 'alow'
///   3 | alow = ["run"]
///     | ^^^^
///     = its keys are: name to allow profile env approval
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    severity: Severity,
    file: String,
    place: Option<Place>,
    message: String,
    help: Option<String>,
}

impl Diagnostic {
    /// About a file as a whole.
    pub fn whole(severity: Severity, file: &str, message: impl Into<String>) -> Self {
        Self {
            severity,
            file: file.to_owned(),
            place: None,
            message: message.into(),
            help: None,
        }
    }

    /// About the bytes `span` of `text`.
    pub(crate) fn at(
        severity: Severity,
        file: &str,
        text: &str,
        span: Range<usize>,
        message: String,
    ) -> Self {
        Self {
            place: Some(Place::of(text, span)),
            ..Self::whole(severity, file, message)
        }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Whether it refuses the load.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// The name of the source.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// From 1; `None` when it is about the file as a whole.
    pub fn line(&self) -> Option<usize> {
        self.place.as_ref().map(|place| place.line)
    }

    /// In characters, from 1; `None` when it is about the file as a whole.
    pub fn column(&self) -> Option<usize> {
        self.place.as_ref().map(|place| place.column)
    }

    /// One sentence, safe for a terminal.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Sorts by file, then by place.
    fn key(&self) -> (&str, Option<&Place>, Severity, &str) {
        (
            &self.file,
            self.place.as_ref(),
            self.severity,
            &self.message,
        )
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let Some(place) = &self.place else {
            write!(f, "{}: {word}: {}", self.file, self.message)?;
            return match &self.help {
                Some(help) => write!(f, "\n  = {help}"),
                None => Ok(()),
            };
        };
        let Place {
            line,
            column,
            shown,
            skip,
            width,
        } = place;
        let gutter = line.to_string().len();
        write!(f, "{}:{line}:{column}: {word}: {}", self.file, self.message)?;
        write!(f, "\n  {line} | {shown}")?;
        write!(f, "\n  {:gutter$} | {:skip$}{:^<width$}", "", "", "")?;
        match &self.help {
            Some(help) => write!(f, "\n  {:gutter$} = {help}", ""),
            None => Ok(()),
        }
    }
}

impl Place {
    /// How many characters of a line are shown; of a longer line, how many of
    /// them before the span.
    const WINDOW: usize = 100;
    const BEFORE: usize = 40;

    fn of(text: &str, span: Range<usize>) -> Self {
        let start = floor(text, span.start);
        let end = floor(text, span.end).max(start);
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

        let fits = lead_chars + rest_of_line.chars().count() <= Self::WINDOW;
        let cut = if fits {
            0
        } else {
            lead_chars.saturating_sub(Self::BEFORE)
        };
        let skip = lead_chars - cut;
        let room = Self::WINDOW - skip;
        let shown = lead
            .chars()
            .skip(cut)
            .chain(rest_of_line.chars().take(room));
        Self {
            line,
            column: lead_chars + 1,
            shown: shown.map(plain).collect::<String>().trim_end().to_owned(),
            skip,
            width: spanned.chars().count().clamp(1, room.max(1)),
        }
    }
}

/// The last character boundary at or before `index`.
fn floor(text: &str, index: usize) -> usize {
    (0..=index.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

/// A character as a terminal may see it, one for one: underlines must fit.
fn plain(char: char) -> char {
    match char {
        '\t' => ' ',
        _ if is_plain(char) => char,
        _ => char::REPLACEMENT_CHARACTER,
    }
}

/// Foreign text within a sentence: in single quotes, short, on one line,
/// nothing in it hidden.
pub(crate) fn quoted(text: impl AsRef<[u8]>) -> String {
    format!("'{}'", line(text.as_ref(), 96))
}

/// What a load has to show.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// All that is wrong or doubtful.
    #[default]
    First,
    /// Of what a first one took, the policy alone: nothing is proved that changes nothing in it.
    Again,
}

/// Collects findings: at most [`Findings::MOST`] of each severity are kept,
/// so that a file of mistakes cannot fill the memory.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    kept: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
    pass: Pass,
}

impl Findings {
    const MOST: usize = 100;

    /// None yet, in this pass.
    pub(crate) fn of(pass: Pass) -> Self {
        Self {
            pass,
            ..Self::default()
        }
    }

    pub(crate) fn pass(&self) -> Pass {
        self.pass
    }

    /// Counts a finding about `file`, and makes it if it will be kept.
    pub(crate) fn push(
        &mut self,
        severity: Severity,
        file: &str,
        finding: impl FnOnce() -> Diagnostic,
    ) {
        if (severity, self.pass) == (Severity::Warning, Pass::Again) {
            return;
        }
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

    /// An error about a file as a whole.
    pub(crate) fn refuse_file(&mut self, file: &str, message: impl Into<String>) {
        self.push(Severity::Error, file, || {
            Diagnostic::whole(Severity::Error, file, message)
        });
    }

    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    /// By file and place, each once.
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
    fn a_place_is_found_and_underlined() {
        let check = |text: &str, span: Range<usize>, expect: &str| {
            let found = Diagnostic::at(Severity::Error, "f", text, span, "m".into());
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
        let shown = Diagnostic::at(Severity::Error, "f", &text, 50_000..90_000, "m".into());
        assert_eq!(shown.column(), Some(50_001));
        assert!(shown.to_string().len() < 300, "{shown}");
    }

    #[test]
    fn foreign_text_is_quoted_short_and_plain() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("\u{202e}\n"), "'\\u{202e}\\n'");
        assert_eq!(quoted("é".repeat(70)), format!("'{}…'", "é".repeat(48)));
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
