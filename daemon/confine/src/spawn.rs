//! One job: its pipes, everything made ready for its child, and the fork.

use crate::checklist::{self, Way};
use crate::error::{Doing, Error, Result};
use crate::floor::{self, ForkCall, Pointers};
use crate::{Cgroup, Keeper, Limits, Sandbox, Template, Wall};
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    unistd::{Gid, Uid, fchown, pipe2},
};
use std::{
    ffi::{CStr, CString},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
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
    /// `None`: /dev/null. Else something that leads nowhere: a sealed memfd or a pipe.
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
    /// As the warden sees it; to be reaped by the warden.
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

/// The fewest descriptors a child gets through its own steps with.
const LEAST_NOFILE: u64 = 32;

/// Forks the job. Returns when the child exists, not when it executes: read `steps`.
///
/// Refused are uid or gid 0, an empty argv, a relative cwd, a script that is not sealed, fewer
/// than 32 descriptors, and private directories without a limit.
pub fn spawn(
    sandbox: &Sandbox,
    template: Option<&Template>,
    keeper: &Keeper,
    job: &Job<'_>,
) -> Result<Spawned> {
    vet(job)?;
    let owner = (Uid::from_raw(job.uid), Gid::from_raw(job.gid));
    let (stdout, out) = pipe(Some(owner))?;
    let (stderr, err) = pipe(Some(owner))?;
    let (steps, told) = pipe(None)?;
    let call = sandbox.kernel.fork;
    let cgroup = job.cgroup.map(Cgroup::fd);
    let rows = sandbox.ceilings.apply(job.limits);
    let way = Way {
        sandbox,
        uid: job.uid,
        gid: job.gid,
        loginuid: job.loginuid.map(|uid| text(uid.to_string())).transpose()?,
        limits: &rows,
        template: template.and_then(Template::namespace),
        join_cgroup: cgroup.filter(|_| call == ForkCall::Clone),
        has_cgroup: cgroup.is_some(),
        tmpfs: tmpfs_options(job.limits, job.uid, job.gid)?,
        stdin: job.stdin,
        stdout: out.as_fd(),
        stderr: err.as_fd(),
        script: job.script,
        steps: told.as_fd(),
        cwd: job.cwd,
        candidates: candidates(job)?,
        argv: Pointers::of(job.argv),
        env: Pointers::of(job.env),
    };
    let into = cgroup.filter(|_| call == ForkCall::Clone3);
    let child = || checklist::run(&way);
    let (pid, pidfd) = if sandbox.walls.up(Wall::PidNamespace) {
        keeper.fork(call, into, child)?
    } else {
        floor::fork(call, into, child).doing(|| "cannot fork".into())?
    };
    Ok(Spawned {
        pid,
        pidfd,
        stdout,
        stderr,
        steps,
    })
}

fn vet(job: &Job<'_>) -> Result<()> {
    let why = if job.uid == 0 || job.gid == 0 {
        "a job is never root"
    } else if job.argv.first().is_none_or(|name| name.is_empty()) {
        "no program is named"
    } else if job.cwd.to_bytes().first() != Some(&b'/') {
        "its working directory is not absolute"
    } else if job.script.is_some_and(|script| !floor::is_sealed(script)) {
        "its script is not a sealed memfd"
    } else if job.limits.nofile < LEAST_NOFILE {
        "it needs at least 32 descriptors"
    } else if job.limits.tmp_bytes == 0 || job.limits.tmp_inodes == 0 {
        // To a tmpfs, 0 means none.
        "its private directories need a limit"
    } else {
        return Ok(());
    };
    Err(Error::refused("cannot spawn a job", why))
}

/// Read end (non-blocking) and write end. The owner of the pipe may open it anew, as
/// `/dev/stderr` does.
pub(crate) fn pipe(owner: Option<(Uid, Gid)>) -> Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC).doing(|| "cannot make a pipe".into())?;
    fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).doing(|| "cannot make a pipe".into())?;
    if let Some((uid, gid)) = owner {
        fchown(&write, Some(uid), Some(gid)).doing(|| "cannot hand a pipe to the job".into())?;
    }
    Ok((read, write))
}

pub(crate) fn tmpfs_options(limits: &Limits, uid: u32, gid: u32) -> Result<CString> {
    let Limits {
        tmp_bytes,
        tmp_inodes,
        ..
    } = limits;
    text(format!(
        "size={tmp_bytes},nr_inodes={tmp_inodes},mode=1777,uid={uid},gid={gid}"
    ))
}

fn text(text: String) -> Result<CString> {
    CString::new(text).map_err(|_| Error::refused("cannot spawn a job", "a NUL in a number"))
}

/// Every file that the name may mean, in order.
fn candidates(job: &Job<'_>) -> Result<Vec<CString>> {
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
