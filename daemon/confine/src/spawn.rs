//! One job: pipes, fork, and the child on its way.

use crate::{Cgroup, Error, Keeper, Limits, Result, Sandbox, Template};
use std::{
    ffi::{CStr, CString},
    os::fd::{BorrowedFd, OwnedFd},
};

/// What to run.
#[derive(Debug)]
pub struct Job<'a> {
    /// The job's own uid, never 0.
    pub uid: u32,
    /// The job's own gid, never 0.
    pub gid: u32,
    /// Audit login uid of the requester; `None` leaves the warden's.
    pub loginuid: Option<u32>,
    /// At least the program's name.
    pub argv: &'a [CString],
    /// Absolute directories searched when `argv[0]` has no `/`.
    pub path: &'a [CString],
    /// The whole environment, `NAME=value`.
    pub env: &'a [CString],
    /// Absolute; opened inside, under the job's identity.
    pub cwd: &'a CStr,
    /// `None`: /dev/null.
    pub stdin: Option<BorrowedFd<'a>>,
    /// A sealed memfd that becomes descriptor 3; `argv` names `/proc/self/fd/3`.
    pub script: Option<BorrowedFd<'a>>,
    /// Where there is one.
    pub cgroup: Option<&'a Cgroup>,
    /// This job's limits.
    pub limits: &'a Limits,
}

/// A child on its way to its exec, or beyond. The descriptors are the read ends, non-blocking
/// and close-on-exec.
#[derive(Debug)]
pub struct Spawned {
    /// As the warden sees it.
    pub pid: i32,
    /// Readable when the process has ended.
    pub pidfd: OwnedFd,
    /// Its output.
    pub stdout: OwnedFd,
    /// Its errors.
    pub stderr: OwnedFd,
    /// For `StepReader`.
    pub steps: OwnedFd,
}

/// Forks the job. Returns when the child exists, not when it executes: read `steps`.
pub fn spawn(
    _sandbox: &Sandbox,
    _template: Option<&Template>,
    _keeper: &Keeper,
    _job: &Job<'_>,
) -> Result<Spawned> {
    Err(Error::refused("cannot spawn", "not built yet"))
}
