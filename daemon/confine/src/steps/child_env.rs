//! Everything that a child needs for its steps, prepared by the parent before the fork; and the numbers of the
//! descriptors that it gives its program or keeps until the exec.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use crate::steps::arguments::Prepared;
use crate::steps::private_root;
use crate::steps::report::{Fault, StepResult};
use crate::steps::seccomp::Program;
use crate::sys::Pointers;
use crate::{Layer, Measured, Sandbox};
use remit_spawn::ResourceLimit;

#[derive(Clone)]
pub(crate) struct ChildEnv<'a> {
    pub(crate) sandbox: &'a Sandbox,
    /// Uid and gid of the processes that serve only this job.
    pub(crate) own: (u32, u32),
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) loginuid: Option<CString>,
    pub(crate) limits: &'a [ResourceLimit],
    pub(crate) others: Option<u32>,
    /// Set if the fork could not put the child into its cgroup.
    pub(crate) join_cgroup: Option<BorrowedFd<'a>>,
    pub(crate) parent: u32,
    pub(crate) has_cgroup: bool,
    /// Mount options of a private directory that is open to all users, like `/tmp`, and of one that is not.
    pub(crate) tmpfs: CString,
    pub(crate) scratch: CString,
    pub(crate) shared_pages: CString,
    pub(crate) stdin: Option<BorrowedFd<'a>>,
    pub(crate) stdout: BorrowedFd<'a>,
    pub(crate) stderr: BorrowedFd<'a>,
    pub(crate) script: Option<BorrowedFd<'a>>,
    pub(crate) measured: &'a [Measured],
    pub(crate) arguments: &'a [Prepared<'a>],
    pub(crate) steps: BorrowedFd<'a>,
    pub(crate) cwd: &'a CStr,
    pub(crate) candidates: Vec<CString>,
    pub(crate) path: &'a [CString],
    pub(crate) argv: Pointers<'a>,
    pub(crate) env: Pointers<'a>,
    pub(crate) stage: Option<&'a private_root::Mount>,
    pub(crate) inherited: Option<Inherited<'a>>,
}

pub(crate) fn if_enabled(
    child_env: &ChildEnv<'_>,
    layer: Layer,
    take: impl FnOnce() -> io::Result<StepResult>,
) -> Result<StepResult, Fault> {
    match child_env.sandbox.layers.is_on(layer) {
        true => Ok(take()?),
        false => Ok(StepResult::Absent),
    }
}

/// What a child of a worker inherits, in addition to the worker's signals, umask and scheduling. It is in its own mount
/// namespace, finished and cut off, and the first half of the filter is installed.
#[derive(Clone, Copy)]
pub(crate) struct Inherited<'a> {
    pub(crate) ruleset: Option<BorrowedFd<'a>>,
    /// The second half of the filter. `None`: it and the Landlock domain are already in force.
    pub(crate) closing: Option<&'a Program>,
    /// Access to its own files in the host's `/proc`, because the one in the namespace is read-only.
    pub(crate) own: ProcAccess<'a>,
    /// Has a byte once the warden was notified of the child; ends if the worker ends before. `None` for a child that
    /// the warden knew before there was a job: that already has its session, its keyring and its OOM score.
    pub(crate) go: Option<BorrowedFd<'a>>,
}

#[derive(Clone, Copy)]
pub(crate) enum ProcAccess<'a> {
    Proc(BorrowedFd<'a>),
    /// The audit login uid, open for writing; `None` on kernels without audit.
    Loginuid(Option<BorrowedFd<'a>>),
}

impl<'a> Inherited<'a> {
    pub(crate) fn is_early(&self) -> bool {
        self.go.is_none()
    }

    pub(crate) fn own(&self) -> Option<BorrowedFd<'a>> {
        match self.own {
            ProcAccess::Proc(directory) => Some(directory),
            ProcAccess::Loginuid(file) => file,
        }
    }
}

pub(crate) fn arguments_at(script: bool) -> RawFd {
    if script { 4 } else { 3 }
}

pub(crate) fn steps_at(child_env: &ChildEnv<'_>) -> RawFd {
    let last = child_env.arguments.iter().filter_map(|a| a.number).max();
    last.map_or(arguments_at(child_env.script.is_some()), |last| last + 1)
}

/// A worker's child has three more descriptors after the step pipe: ruleset, go pipe and the host's `/proc`.
pub(crate) fn ruleset_at(child_env: &ChildEnv<'_>) -> RawFd {
    steps_at(child_env) + 1
}

pub(crate) fn go_at(child_env: &ChildEnv<'_>) -> RawFd {
    steps_at(child_env) + 2
}

pub(crate) fn own_at(child_env: &ChildEnv<'_>) -> RawFd {
    steps_at(child_env) + 3
}
