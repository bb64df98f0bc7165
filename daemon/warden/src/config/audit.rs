//! `[audit]` of `remit.toml`.

use serde::Deserialize;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditSink {
    /// The native socket of journald.
    #[default]
    Journald,
    /// JSON Lines in the state directory.
    File,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sync {
    Always,
    /// After records of changes, approvals, grants and locks.
    #[default]
    Changes,
    Never,
}
