//! `[output]` of `remit.toml`: bytes of job output that the broker keeps on disk.

use remit_common::caps;
use serde::Deserialize;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Output {
    /// Of one job. A job that writes more ends with `output_limit`.
    pub per_job: u64,
    /// Of all jobs of one user. The output of the job that ended first is removed first.
    pub per_user: u64,
    /// Of all jobs. Output is removed in the same order.
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
