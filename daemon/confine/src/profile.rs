//! What a sandbox is made of: limits, groups and the things compiled once for all its jobs.

use crate::{Error, Kernel, Result};

/// Limits of one job. All are upper bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open descriptors of a process.
    pub nofile: u64,
    /// Processes and threads of the job's uid.
    pub nproc: u64,
    /// Bytes of private writable memory of a process (`RLIMIT_DATA`).
    pub data: u64,
    /// CPU seconds of a process.
    pub cpu_s: u64,
    /// Bytes of a file; above `tmp_bytes`, so that ENOSPC speaks before SIGXFSZ.
    pub fsize: u64,
    /// Bytes in each private directory.
    pub tmp_bytes: u64,
    /// Files in each private directory.
    pub tmp_inodes: u64,
    /// Bytes of the whole job, where the memory controller is delegated.
    pub memory: Option<u64>,
    /// Tasks of the whole job, where the pids controller is delegated.
    pub tasks: Option<u64>,
    /// Percent of one CPU for the whole job, where the cpu controller is delegated.
    pub cpu_percent: Option<u32>,
}

/// What policy says of a `read` sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadProfile {
    /// Supplementary groups, exactly these.
    pub groups: Vec<u32>,
    /// Limits of the witness; each job brings its own.
    pub limits: Limits,
}

/// A compiled profile.
#[derive(Debug)]
pub struct Sandbox {}

impl Sandbox {
    /// Compiles `profile` for this kernel.
    pub fn read(_profile: &ReadProfile, _kernel: &Kernel) -> Result<Sandbox> {
        Err(Error::refused("cannot build a sandbox", "not built yet"))
    }
}
