//! A job as its child needs it, and the numbers of the descriptors that it gives its program or keeps until the exec.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use crate::steps::arguments::{self, Prepared};
use crate::sys::{self, Pointers};
use crate::{Error, Job, Measured, Result, Sandbox};
use remit_spawn::ResourceLimit;

/// The fewest descriptors with which a child can take its own steps.
const LEAST_NOFILE: u64 = 32;

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

/// The job's ends: output, errors, steps. Closing the last descriptor of an end can wait for the holder of the pipe's
/// lock. So every process but the job's child closes them before that child executes anything.
pub(crate) type Ends = [OwnedFd; 3];

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

/// Refuses uid or gid 0, an empty argv, a relative cwd, a script, copy or secret that is not sealed, a path argument
/// that is not plain, a hashed file without an absolute name, fewer than 32 descriptors, private directories without a
/// limit, and a profile's user without a cgroup.
pub(crate) fn vet(sandbox: &Sandbox, job: &Job<'_>) -> Result<()> {
    let why = if job.uid == 0 || job.gid == 0 {
        "a job is never root"
    } else if sandbox.credentials.user.is_some() && job.cgroup.is_none() {
        // Its processes can be neither found nor counted by their uid.
        "a user shared with other processes needs a cgroup"
    } else if job.argv.first().is_none_or(|name| name.is_empty()) {
        "no program is named"
    } else if !is_absolute(job.cwd) {
        "its working directory is not absolute"
    } else if job.script.is_some_and(|script| !sys::is_sealed(script)) {
        "its script is not a sealed memfd"
    } else if job.measured.iter().any(|file| !is_absolute(&file.path)) {
        "a measured file has no absolute name"
    } else if job.limits.nofile < LEAST_NOFILE + job.arguments.len() as u64 {
        "it needs at least 32 descriptors, and one for each path or secret"
    } else if job.limits.tmp_bytes == 0 || job.limits.tmp_inodes == 0 {
        // A tmpfs takes 0 for no limit.
        "its private directories need a limit"
    } else {
        let first = arguments_at(job.script.is_some());
        return arguments::prepare(job.argv, job.arguments, first).map(drop);
    };
    Err(Error::refused("cannot spawn a job", why))
}

fn is_absolute(path: &CStr) -> bool {
    path.to_bytes().first() == Some(&b'/')
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
