//! Rules as they stand after loading: names resolved, everything checked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::approval::Approval;
use crate::glob::Glob;
use crate::profile::Profile;

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

/// One that a rule speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Principal {
    /// The user of this uid.
    User(u32),
    /// Whoever has this gid.
    Group(u32),
}

/// Those a rule speaks of. Empty means nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Grantees {
    /// Each with the word that stands for it.
    pub(crate) ids: BTreeMap<Principal, String>,
    /// Each as it was written, also who does not exist.
    pub(crate) words: Vec<String>,
}

impl Grantees {
    pub(crate) fn uids(&self) -> impl Iterator<Item = u32> {
        self.ids.keys().filter_map(|one| match one {
            Principal::User(uid) => Some(*uid),
            Principal::Group(_) => None,
        })
    }

    pub(crate) fn gids(&self) -> impl Iterator<Item = u32> {
        self.ids.keys().filter_map(|one| match one {
            Principal::Group(gid) => Some(*gid),
            Principal::User(_) => None,
        })
    }
}

/// A `[[grant]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GrantRule {
    pub(crate) id: RuleId,
    pub(crate) to: Grantees,
    pub(crate) allow: Vec<Glob>,
    /// That of `run`; a named command has its own.
    pub(crate) profile: Arc<Profile>,
    pub(crate) env: BTreeSet<String>,
    pub(crate) approval: Option<Approval>,
    /// Commands of base `host` may run without approval.
    pub(crate) unconfined: bool,
}

/// A `[[deny]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DenyRule {
    pub(crate) id: RuleId,
    pub(crate) to: Grantees,
    pub(crate) deny: Vec<Glob>,
}
