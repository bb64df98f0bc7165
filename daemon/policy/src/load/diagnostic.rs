use std::fmt;
use std::ops::Range;

use remit_common::text::{is_plain, line};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Excerpt {
    line: usize,
    column: usize,
    /// The line, or a window of it, safe for a terminal.
    shown: String,
    /// Characters of `shown` before the underline.
    skip: usize,
    /// Characters to underline, at least 1.
    width: usize,
}

/// One finding about one file. `Display` writes it as:
///
/// ```text
/// /etc/remit/policy.d/20-web.toml:3:1: error: unknown key 'alow' in [[grant]]
///   3 | alow = ["run"]
///     | ^^^^
///     = did you mean 'allow'? valid keys: name to allow run_profile env approval
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    severity: Severity,
    file: String,
    excerpt: Option<Excerpt>,
    message: String,
    help: Option<String>,
}

impl Diagnostic {
    pub fn whole(severity: Severity, file: &str, message: impl Into<String>) -> Self {
        Self {
            severity,
            file: file.to_owned(),
            excerpt: None,
            message: message.into(),
            help: None,
        }
    }

    pub(crate) fn at(
        severity: Severity,
        file: &str,
        text: &str,
        span: Range<usize>,
        message: String,
    ) -> Self {
        Self {
            excerpt: Some(Excerpt::of(text, span)),
            ..Self::whole(severity, file, message)
        }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub fn severity(&self) -> Severity {
        self.severity
    }

    pub fn file(&self) -> &str {
        &self.file
    }

    pub fn line(&self) -> Option<usize> {
        self.excerpt.as_ref().map(|excerpt| excerpt.line)
    }

    /// In characters, from 1.
    pub fn column(&self) -> Option<usize> {
        self.excerpt.as_ref().map(|excerpt| excerpt.column)
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    fn key(&self) -> (&str, Option<&Excerpt>, Severity, &str) {
        (
            &self.file,
            self.excerpt.as_ref(),
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
        let Some(excerpt) = &self.excerpt else {
            write!(f, "{}: {word}: {}", self.file, self.message)?;
            return match &self.help {
                Some(help) => write!(f, "\n  = {help}"),
                None => Ok(()),
            };
        };
        let Excerpt {
            line,
            column,
            shown,
            skip,
            width,
        } = excerpt;
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

impl Excerpt {
    /// Maximum number of characters shown of a line; in a longer line, the characters shown before the span.
    const WINDOW: usize = 100;
    const BEFORE: usize = 40;

    fn of(text: &str, span: Range<usize>) -> Self {
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

        let fits = lead_chars + rest_of_line.chars().count() <= Self::WINDOW;
        let cut = if fits {
            0
        } else {
            lead_chars.saturating_sub(Self::BEFORE)
        };
        let skip = lead_chars - cut;
        let max_width = Self::WINDOW - skip;
        let shown = lead
            .chars()
            .skip(cut)
            .chain(rest_of_line.chars().take(max_width));
        Self {
            line,
            column: lead_chars + 1,
            shown: shown.map(plain).collect::<String>().trim_end().to_owned(),
            skip,
            width: spanned.chars().count().clamp(1, max_width.max(1)),
        }
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

/// Quotes untrusted text within a sentence: in single quotes, short, on one line, nothing hidden.
pub(crate) fn quoted(text: impl AsRef<[u8]>) -> String {
    format!("'{}'", line(text.as_ref(), 96))
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoadPass {
    #[default]
    First,
    /// Compiles sources that a first pass accepted. Checks that do not change the policy are skipped.
    Again,
}

/// Collects findings. At most [`Findings::MOST`] of each severity are kept, so that a file of mistakes cannot fill
/// the memory.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    kept: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
    pass: LoadPass,
}

impl Findings {
    const MOST: usize = 100;

    pub(crate) fn of(pass: LoadPass) -> Self {
        Self {
            pass,
            ..Self::default()
        }
    }

    pub(crate) fn pass(&self) -> LoadPass {
        self.pass
    }

    pub(crate) fn push(
        &mut self,
        severity: Severity,
        file: &str,
        finding: impl FnOnce() -> Diagnostic,
    ) {
        if (severity, self.pass) == (Severity::Warning, LoadPass::Again) {
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
