//! The pipes of a job, and what its owner gets.

use crate::steps::child_env::Ends;
use crate::{Result, Sandbox};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{Gid, Uid, fchown, pipe2};
use remit_sys::Doing;
use std::os::fd::OwnedFd;

/// A child on its way to its exec, or beyond. The descriptors are the read ends, non-blocking and close-on-exec.
#[derive(Debug)]
pub struct Spawned {
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
    pub steps: OwnedFd,
}

#[derive(Debug)]
pub(super) struct Pipes {
    pub(super) output: [OwnedFd; 2],
    pub(super) steps: OwnedFd,
}

pub(super) fn pipes(sandbox: &Sandbox, own: (u32, u32)) -> Result<(Pipes, Ends)> {
    let (uid, gid) = sandbox.credentials.user.unwrap_or(own);
    let owner = (Uid::from_raw(uid), Gid::from_raw(gid));
    let (stdout, out) = pipe(Some(owner))?;
    let (stderr, err) = pipe(Some(owner))?;
    let (steps, report) = pipe(None)?;
    let output = [stdout, stderr];
    Ok((Pipes { output, steps }, [out, err, report]))
}

/// Returns the read end (non-blocking) and the write end. The owner may open the pipe again, as `/dev/stderr` does.
pub(crate) fn pipe(owner: Option<(Uid, Gid)>) -> Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC).doing(|| "cannot make a pipe".into())?;
    fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).doing(|| "cannot make a pipe".into())?;
    if let Some((uid, gid)) = owner {
        fchown(&write, Some(uid), Some(gid)).doing(|| "cannot hand a pipe to the job".into())?;
    }
    Ok((read, write))
}
