//! How a job ended, as the ledger has it.

use remit_common::outcome::{Ending, Enforced, State};
use remit_link::JobMeta;
use serde::{Deserialize, Serialize};

use super::slot::or_default;
use crate::identity::peer::Subject;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub started_ms: u64,
    pub waited_ms: u64,
    pub enforced: Option<Enforced>,
    pub ending: Ending,
    /// An earlier release neither wrote nor reads it.
    #[serde(deserialize_with = "or_default")]
    pub decision: Option<EndDecision>,
}

/// What the records of a request say of the decision about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndDecision {
    /// SHA-256 of all that runs.
    pub digest: [u8; 32],
    /// The person that has denied it.
    pub by: Option<DecidedBy>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecidedBy {
    pub user: String,
    pub uid: u32,
    pub loginuid: Option<u32>,
    pub claimed: Option<u32>,
    pub peer: String,
}

impl DecidedBy {
    pub fn new(by: &Subject) -> Self {
        Self {
            user: by.user().to_owned(),
            uid: by.uid(),
            loginuid: by.loginuid(),
            claimed: by.claimed(),
            peer: by.peer(),
        }
    }
}

/// A borrowed [`Ended`] to be written, with the same bytes.
#[derive(Debug, Serialize)]
pub struct EndNote<'a> {
    pub(super) started_ms: u64,
    pub(super) waited_ms: u64,
    pub(super) enforced: Option<&'a Enforced>,
    pub(super) ending: &'a Ending,
    pub(super) decision: Option<&'a EndDecision>,
}

impl Ended {
    pub fn end_note(&self) -> EndNote<'_> {
        EndNote {
            started_ms: self.started_ms,
            waited_ms: self.waited_ms,
            enforced: self.enforced.as_ref(),
            ending: &self.ending,
            decision: self.decision.as_ref(),
        }
    }

    /// The end of a job that nobody observed. What it used is unknown.
    pub fn interrupted(started_ms: u64, cause: String, kill_verified: bool) -> Self {
        Self::unmeasured(started_ms, State::Interrupted, cause, kill_verified)
    }

    /// The end of a job whose start failed before its fork.
    pub fn not_started(started_ms: u64, cause: String) -> Self {
        Self::unmeasured(started_ms, State::NotStarted, cause, true)
    }

    fn unmeasured(started_ms: u64, state: State, cause: String, kill_verified: bool) -> Self {
        Self {
            started_ms,
            waited_ms: 0,
            enforced: None,
            ending: Ending::unmeasured(state, cause, kill_verified),
            decision: None,
        }
    }
}

impl<'a> EndNote<'a> {
    pub fn new(meta: &'a JobMeta, decision: Option<&'a EndDecision>) -> Option<Self> {
        Some(Self {
            started_ms: meta.started_ms,
            waited_ms: meta.waited_ms,
            enforced: meta.enforced.as_ref(),
            ending: meta.ending.as_ref()?,
            decision,
        })
    }
}
