//! Sections of `remit.toml` that only have values: audit, output, approval, limits of a job (bytes, seconds, counts).

use std::fmt;

use remit_common::caps;
use serde::{Deserialize, Deserializer, Serialize};

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

/// `[bus]`: what jobs in profile `read` may ask the system bus.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BusConfig {
    pub off: bool,
    /// Calls that only look and that remit does not know: interface and method.
    pub calls: Vec<String>,
}

/// `[floor]`: what every change needs, whatever a rule says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FloorConfig {
    pub approval: bool,
    /// Approvers of a change whose rule names none, as in `by` of a rule.
    pub approvers: Vec<String>,
    pub require: Vec<RequiredCommand>,
}

/// A command that must have ended with exit 0 before a change starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequiredCommand {
    pub command: String,
    pub within_s: u32,
}

/// `[policy]`: how a policy is loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyConfig {
    /// A reload asks `remit-prove` which ways to root the new policy opens, and refuses those that it does not accept.
    pub prove: bool,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self { prove: true }
    }
}

/// `[breaker]`: when a user is paused until an administrator resumes them. A number 0 switches its breaker off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerConfig {
    /// Failures of a change in a row that pause its user's changes.
    pub failed_changes: u32,
    /// Refusals within `slow_within_s` after which the answer to each further one is delayed.
    pub slow_refusals: u32,
    pub slow_within_s: u32,
    /// Refusals within `pause_within_s` that pause the user.
    pub pause_refusals: u32,
    pub pause_within_s: u32,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failed_changes: 10,
            slow_refusals: 30,
            slow_within_s: 300,
            pause_refusals: 100,
            pause_within_s: 600,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum AccountRef {
    Id(u32),
    Name(String),
}

/// A name, or `#` and the number.
impl fmt::Display for AccountRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "#{id}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A file has a number or a text. Bytes do not describe themselves, so they begin with the kind.
impl<'de> Deserialize<'de> for AccountRef {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match from.is_human_readable() {
            true => InFile::deserialize(from),
            false => InBytes::deserialize(from),
        }
    }
}

#[derive(Deserialize)]
#[serde(
    remote = "AccountRef",
    untagged,
    expecting = "expected a name, or a number from 0 to 4294967295"
)]
enum InFile {
    Id(u32),
    Name(String),
}

#[derive(Deserialize)]
#[serde(remote = "AccountRef")]
enum InBytes {
    Id(u32),
    Name(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobLimits {
    /// Seconds if the caller names none.
    pub runtime_s: u32,
    pub max_runtime_s: u32,
    /// Memory of the whole job if a controller counts it, otherwise of each process.
    pub memory: u64,
    pub tasks: u64,
    /// Percent of one CPU. Needs the cpu controller.
    pub cpu_percent: u32,
    pub cpu_s: u64,
    pub files: u64,
    /// Bytes in each private directory. `tmp_files`: files in each.
    pub tmp: u64,
    pub tmp_files: u64,
    /// Bytes of one file, for jobs that write files of the host.
    pub file: u64,
}

impl Default for JobLimits {
    fn default() -> Self {
        Self {
            runtime_s: caps::RUNTIME_S_DEFAULT,
            max_runtime_s: 3600,
            memory: 2 << 30,
            tasks: 256,
            cpu_percent: 400,
            cpu_s: 3600,
            files: 1024,
            tmp: 64 << 20,
            tmp_files: 16 << 10,
            file: 2 << 30,
        }
    }
}
