//! Rules as they stand after loading: names resolved, everything checked.

use std::collections::BTreeSet;
use std::fmt;

/// Where a rule stands, and its name if it has one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleId {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) name: Option<String>,
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
    /// Every profile there is.
    pub const ALL: [Self; 1] = [Self::Read];

    /// Its name in policy files and requests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }
}

/// What a rule speaks of in `allow` and `deny`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    /// Any program or script, in the rule's profile.
    Run,
}

impl Action {
    pub(crate) const ALL: [Self; 1] = [Self::Run];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }
}

/// Those a rule speaks of. Empty means nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Grantees {
    pub(crate) uids: BTreeSet<u32>,
    pub(crate) gids: BTreeSet<u32>,
}

/// A `[[grant]]`.
#[derive(Debug)]
pub(crate) struct GrantRule {
    pub(crate) id: RuleId,
    pub(crate) to: Grantees,
    pub(crate) allow: BTreeSet<Action>,
    pub(crate) profile: Profile,
    pub(crate) env: BTreeSet<String>,
}

/// A `[[deny]]`.
#[derive(Debug)]
pub(crate) struct DenyRule {
    pub(crate) id: RuleId,
    pub(crate) to: Grantees,
    pub(crate) deny: BTreeSet<Action>,
}
