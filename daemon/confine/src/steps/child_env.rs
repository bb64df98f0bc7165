//! A job as its child needs it, and the numbers of the descriptors that it gives its program or keeps until the exec.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, RawFd};

use crate::steps::arguments::{self, Prepared};
use crate::sys::Pointers;
use crate::{Error, Job, Measured, Result, Sandbox};
use remit_spawn::{Ends, ResourceLimit};

pub(crate) struct ChildEnv<'a> {
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) loginuid: Option<CString>,
    pub(crate) limits: &'a [ResourceLimit],
    /// The user whose other tasks do not count for the limit.
    pub(crate) others: Option<u32>,
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
}

/// Prepares a vetted job for its child, and does `then` with it.
pub(crate) fn with_child_env<T>(
    sandbox: &Sandbox,
    job: &Job<'_>,
    [out, err, report]: &Ends,
    then: impl FnOnce(&ChildEnv<'_>) -> T,
) -> Result<T> {
    let (uid, gid) = sandbox.credentials.user.unwrap_or((job.uid, job.gid));
    let rows = sandbox.ceilings.apply(&sandbox.processes(job.limits));
    let first = arguments_at(job.script.is_some());
    let (argv, arguments) = arguments::prepare(job.argv, job.arguments, first)?;
    Ok(then(&ChildEnv {
        sandbox,
        uid,
        gid,
        loginuid: job.loginuid.map(|uid| text(uid.to_string())).transpose()?,
        limits: &rows,
        others: sandbox.credentials.user.and(job.limits.others),
        stdin: job.stdin,
        stdout: out.as_fd(),
        stderr: err.as_fd(),
        script: job.script,
        measured: job.measured,
        arguments: &arguments,
        steps: report.as_fd(),
        cwd: job.cwd,
        candidates: candidates(job)?,
        path: job.path,
        argv: Pointers::new(&argv),
        env: Pointers::new(job.env),
    }))
}

fn text(text: String) -> Result<CString> {
    CString::new(text).map_err(|_| Error::refused("cannot spawn a job", "a NUL in a number"))
}

/// Returns every file that the name may mean, in order; for a hashed program only that one.
fn candidates(job: &Job<'_>) -> Result<Vec<CString>> {
    if let Some(program) = job.measured.first() {
        return Ok(vec![program.path.clone()]);
    }
    let Some(name) = job.argv.first() else {
        return Ok(Vec::new());
    };
    if name.to_bytes().contains(&b'/') {
        return Ok(vec![name.clone()]);
    }
    let join = |dir: &CString| {
        let bytes = [dir.to_bytes(), b"/", name.to_bytes()].concat();
        CString::new(bytes).map_err(|_| Error::refused("cannot spawn a job", "a NUL in a path"))
    };
    job.path.iter().map(join).collect()
}

fn arguments_at(script: bool) -> RawFd {
    if script { 4 } else { 3 }
}

pub(crate) fn steps_at(child_env: &ChildEnv<'_>) -> RawFd {
    let last = child_env.arguments.iter().filter_map(|a| a.number).max();
    last.map_or(arguments_at(child_env.script.is_some()), |last| last + 1)
}
