//! What is wrong with a policy file, and where.

use std::fmt;

/// How grave a [`Diagnostic`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The load is refused.
    Error,
    /// The load goes on; a human should look.
    Warning,
}

/// One finding in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether it refuses the load.
    pub severity: Severity,
    /// The name of the source.
    pub file: String,
    /// From 1; 0 when the finding is about the file as a whole.
    pub line: usize,
    /// In characters, from 1; 0 when the finding is about the file as a whole.
    pub column: usize,
    /// One sentence.
    pub message: String,
    /// What to do about it, if that is not plain.
    pub help: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}: {}",
            self.file, self.line, self.column, self.message
        )
    }
}
