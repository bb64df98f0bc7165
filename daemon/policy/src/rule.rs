//! Rules as they stand after loading: names resolved, everything checked.

use std::fmt;

/// Where a rule stands, and its name if it has one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleId {
    pub(crate) name: Option<String>,
    pub(crate) file: String,
    pub(crate) line: usize,
}

impl RuleId {
    /// The rule's own `name`.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The name of the [`Source`](crate::Source) it was read from.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line of its header in that file, from 1.
    pub fn line(&self) -> usize {
        self.line
    }
}

/// `operators-look (/etc/remit/policy.d/20-web.toml:3)`, or without a name
/// `/etc/remit/policy.d/20-web.toml:3`.
impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} ({}:{})", self.file, self.line),
            None => write!(f, "{}:{}", self.file, self.line),
        }
    }
}

/// A sandbox that a job runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// Sees what an operator's account sees, changes nothing.
    Read,
}

impl Profile {
    /// Its name in policy files and requests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "read" => Some(Self::Read),
            _ => None,
        }
    }
}
