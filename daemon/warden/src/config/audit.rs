//! `[audit]` of `remit.toml`.

use serde::Deserialize;

/// `[audit]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// The sink.
    pub sink: Sink,
    /// When a record must be on the disk before remit goes on; for the file sink.
    pub sync: Sync,
    /// What is refused to jobs is told to the kernel's audit, and heard from there.
    pub kernel: bool,
    /// Bytes that the records of one user's requests take within an hour.
    pub per_user: u64,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            sink: Sink::default(),
            sync: Sync::default(),
            kernel: false,
            per_user: 64 << 20,
        }
    }
}

/// `audit.sink`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sink {
    /// journald's native socket.
    #[default]
    Journald,
    /// JSON Lines in the state directory.
    File,
}

/// `audit.sync`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sync {
    /// After each record.
    Always,
    /// After records of changes, approvals, grants and locks.
    #[default]
    Changes,
    /// Left to the kernel.
    Never,
}
