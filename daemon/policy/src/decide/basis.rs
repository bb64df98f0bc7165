//! Why a request may run.

use std::fmt;

use crate::model::approval::Approval;
use crate::model::rule::RuleId;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Basis {
    Rule(RuleId),
    /// Root tries a profile: root could run the same outside of it.
    TryByRoot,
    Notification,
    /// The daemon finishes or takes back commits of files.
    Recovery,
    /// The daemon undoes a commit of files that nobody has confirmed.
    Unconfirmed,
    /// A rule asks for an approval, and an approver has approved this very request.
    Approved {
        rule: RuleId,
        by: String,
    },
    /// A rule asks for an approval, and an approver has approved such runs for a time.
    TemporaryGrant {
        rule: RuleId,
        by: String,
        grant: u64,
        /// What its rules ask for. A possible approver confirms a commit.
        approval: Approval,
    },
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(rule) => rule.fmt(f),
            Self::TryByRoot => f.write_str("try by root"),
            Self::Notification => f.write_str("approval.notify of remit.toml"),
            Self::Recovery => f.write_str("recovery of commits"),
            Self::Unconfirmed => f.write_str("undo of what nobody confirmed"),
            Self::Approved { rule, by } => write!(f, "{rule}, approved by {by}"),
            Self::TemporaryGrant {
                rule, by, grant, ..
            } => {
                write!(f, "{rule}, grant {grant} given by {by}")
            }
        }
    }
}

impl Basis {
    /// Returns true for what the daemon does by itself. It has no session, and no user can be paused for it.
    pub const fn is_of_daemon(&self) -> bool {
        match self {
            Self::Notification | Self::Recovery | Self::Unconfirmed => true,
            Self::Rule(_)
            | Self::TryByRoot
            | Self::Approved { .. }
            | Self::TemporaryGrant { .. } => false,
        }
    }

    pub fn rule(&self) -> Option<&RuleId> {
        match self {
            Self::Rule(rule) | Self::Approved { rule, .. } | Self::TemporaryGrant { rule, .. } => {
                Some(rule)
            }
            Self::TryByRoot | Self::Notification | Self::Recovery | Self::Unconfirmed => None,
        }
    }
}
