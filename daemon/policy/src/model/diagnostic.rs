//! The texts of a policy, and the findings about them.

use std::fmt;

use remit_common::text::line;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    Error,
    Warning,
}

/// A line of a file, with an underlined part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Excerpt {
    pub line: usize,
    pub column: usize,
    /// The line, or a window of it, safe for a terminal.
    pub shown: String,
    /// Characters of `shown` before the underline.
    pub skip: usize,
    /// Characters to underline, at least 1.
    pub width: usize,
}

/// One finding about one file. `Display` writes it as:
/// ```text
/// /etc/remit/policy.d/20-web.toml:3:1: error: unknown key 'alow' in [[grant]]
///   3 | alow = ["run"]
///     | ^^^^
///     = did you mean 'allow'? valid keys: name to allow run_profile env approval
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    severity: Severity,
    file: String,
    excerpt: Option<Excerpt>,
    message: String,
    help: Option<String>,
    is_about_missing_account: bool,
}

impl Diagnostic {
    pub fn whole(severity: Severity, file: &str, message: impl Into<String>) -> Self {
        Self {
            severity,
            file: file.to_owned(),
            excerpt: None,
            message: message.into(),
            help: None,
            is_about_missing_account: false,
        }
    }

    /// A finding at one place of the file.
    pub fn at(severity: Severity, file: &str, excerpt: Excerpt, message: String) -> Self {
        Self {
            excerpt: Some(excerpt),
            ..Self::whole(severity, file, message)
        }
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    #[must_use]
    pub fn about_missing_account(mut self) -> Self {
        self.is_about_missing_account = true;
        self
    }

    /// Returns true if a user or a group is all that is missing: the same text may load once the user database knows it.
    pub fn is_about_missing_account(&self) -> bool {
        self.is_about_missing_account
    }

    /// Returns true if it can be shown: a few short lines. A finding of another process may be anything.
    pub fn is_bounded(&self) -> bool {
        const WIDEST: usize = 256;
        const LONGEST: usize = 16 << 10;
        let excerpt = self.excerpt.as_ref();
        let texts = [Some(&self.file), Some(&self.message), self.help.as_ref()];
        let texts = texts.into_iter().chain([excerpt.map(|one| &one.shown)]);
        texts.flatten().all(|text| {
            text.len() <= LONGEST && !text.contains(|char: char| char.is_control() && char != '\n')
        }) && excerpt.is_none_or(|one| one.skip.max(one.width) <= WIDEST)
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

    pub fn key(&self) -> (&str, Option<&Excerpt>, Severity, &str) {
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

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub name: String,
    pub text: Vec<u8>,
}

/// Quotes untrusted text within a sentence: in single quotes, short, on one line, nothing hidden.
pub fn quoted(text: impl AsRef<[u8]>) -> String {
    format!("'{}'", line(text.as_ref(), 96))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_quoted_short_and_plain() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("\u{202e}\n"), "'\\u{202e}\\n'");
        assert_eq!(quoted("é".repeat(70)), format!("'{}…'", "é".repeat(48)));
    }
}
