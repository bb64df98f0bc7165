//! How a job ended, as the ledger keeps it.

use remit_common::outcome::{Ending, Enforced, State};
use remit_link::JobMeta;
use serde::{Deserialize, Serialize};

/// How a job ended, and what else its owner is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When it had started, in milliseconds since 1970.
    pub started_ms: u64,
    /// How long it had waited, in milliseconds.
    pub waited_ms: u64,
    /// What was enforced.
    pub enforced: Option<Enforced>,
    /// How it ended.
    pub ending: Ending,
}

/// The same, to be written: as bytes it is the same.
#[derive(Debug, Serialize)]
pub struct Told<'a> {
    pub(super) started_ms: u64,
    pub(super) waited_ms: u64,
    pub(super) enforced: Option<&'a Enforced>,
    pub(super) ending: &'a Ending,
}

impl Ended {
    /// To be written.
    pub fn told(&self) -> Told<'_> {
        Told {
            started_ms: self.started_ms,
            waited_ms: self.waited_ms,
            enforced: self.enforced.as_ref(),
            ending: &self.ending,
        }
    }

    /// How a job ended that nobody saw end. What it used is not known.
    pub fn interrupted(started_ms: u64, cause: String, kill_verified: bool) -> Self {
        Self {
            started_ms,
            waited_ms: 0,
            enforced: None,
            ending: Ending::unmeasured(State::Interrupted, cause, kill_verified),
        }
    }
}

impl<'a> Told<'a> {
    /// What the ledger keeps of a job that has ended; `None` for one that has not.
    pub fn of(meta: &'a JobMeta) -> Option<Self> {
        Some(Self {
            started_ms: meta.started_ms,
            waited_ms: meta.waited_ms,
            enforced: meta.enforced.as_ref(),
            ending: meta.ending.as_ref()?,
        })
    }
}
