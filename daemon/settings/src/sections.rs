//! Sections of `remit.toml` that only have values: audit, output, approval.

use remit_common::caps;
use serde::{Deserialize, Serialize};

/// `[audit]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditConfig {
    pub sink: AuditSink,
    /// When a record must be on the disk before remit continues. Only for the file sink.
    pub sync: Sync,
    /// The sandbox reports what it refuses to jobs to the kernel's audit, and remit reads it from there.
    pub kernel: bool,
    /// Bytes of records that the requests of one user may cause within an hour.
    pub per_user: u64,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            sink: AuditSink::default(),
            sync: Sync::default(),
            kernel: false,
            per_user: 64 << 20,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditSink {
    /// The native socket of journald.
    #[default]
    Journald,
    /// JSON Lines in the state directory.
    File,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sync {
    Always,
    /// After records of changes, approvals, grants and locks.
    #[default]
    Changes,
    Never,
}

/// `[output]`: bytes of job output that the broker keeps on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// `[approval]`: how users learn that a request waits for them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Approval {
    /// The policy's command that gets each request on its standard input. Empty: none.
    pub notify: String,
}
