//! `[output]` of `remit.toml`.

use remit_common::caps;
use serde::Deserialize;

/// `[output]`: bytes of what jobs write that the broker keeps on disk.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Output {
    /// Of one job; more ends it with `output_limit`.
    pub per_job: u64,
    /// Of all jobs of one user; that of the oldest that has ended goes first.
    pub per_user: u64,
    /// Of all jobs; that of the oldest that has ended goes first.
    pub total: u64,
}

impl Default for Output {
    fn default() -> Self {
        Self {
            per_job: caps::SPOOL_PER_JOB,
            per_user: caps::SPOOL_PER_UID,
            total: caps::SPOOL,
        }
    }
}
