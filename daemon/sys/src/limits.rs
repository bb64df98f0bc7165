//! Limits of one job. Data only.

/// Limits of one job, all of them upper bounds. The default lets nothing run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Limits {
    /// Open descriptors of a process; at least 32.
    pub nofile: u64,
    pub nproc: u64,
    /// The uid of a job that shares its user. The kernel counts all tasks of a user together, so the child counts
    /// those of before, and the job may have `nproc` more. `None`: something else counts the job's, or nothing can.
    pub others: Option<u32>,
    /// Bytes of private writable memory of a process (`RLIMIT_DATA`).
    pub data: u64,
    /// CPU seconds of a process: then SIGXCPU, two seconds later SIGKILL.
    pub cpu_s: u64,
    /// Bytes of a file; above `tmp_bytes`, so that ENOSPC comes before SIGXFSZ.
    pub fsize: u64,
    pub tmp_bytes: u64,
    pub tmp_inodes: u64,
    /// Bytes of the whole job. This limit and the next two need their cgroup controller.
    pub memory: Option<u64>,
    pub tasks: Option<u64>,
    /// Percent of one CPU for the whole job.
    pub cpu_percent: Option<u32>,
}
