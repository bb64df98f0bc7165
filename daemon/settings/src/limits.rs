//! `[limits]` of `remit.toml`: limits of one job, in bytes, seconds and counts.

use remit_common::caps;
use serde::{Deserialize, Serialize};

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
    /// CPU seconds of each process.
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
