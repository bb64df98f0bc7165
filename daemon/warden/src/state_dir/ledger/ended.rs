//! How a job ended, as the ledger keeps it.

use remit_common::outcome::{Ending, Enforced, State};
use remit_link::JobMeta;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub started_ms: u64,
    pub waited_ms: u64,
    pub enforced: Option<Enforced>,
    pub ending: Ending,
}

/// A borrowed [`Ended`] to be written, with the same bytes.
#[derive(Debug, Serialize)]
pub struct EndNote<'a> {
    pub(super) started_ms: u64,
    pub(super) waited_ms: u64,
    pub(super) enforced: Option<&'a Enforced>,
    pub(super) ending: &'a Ending,
}

impl Ended {
    pub fn end_note(&self) -> EndNote<'_> {
        EndNote {
            started_ms: self.started_ms,
            waited_ms: self.waited_ms,
            enforced: self.enforced.as_ref(),
            ending: &self.ending,
        }
    }

    /// The end of a job that nobody observed. What it used is unknown.
    pub fn interrupted(started_ms: u64, cause: String, kill_verified: bool) -> Self {
        Self {
            started_ms,
            waited_ms: 0,
            enforced: None,
            ending: Ending::unmeasured(State::Interrupted, cause, kill_verified),
        }
    }
}

impl<'a> EndNote<'a> {
    /// Returns `None` for a job that has not ended.
    pub fn of(meta: &'a JobMeta) -> Option<Self> {
        Some(Self {
            started_ms: meta.started_ms,
            waited_ms: meta.waited_ms,
            enforced: meta.enforced.as_ref(),
            ending: meta.ending.as_ref()?,
        })
    }
}
