//! Processes without a sandbox: the floor below everything else.
#![allow(unsafe_code)]

use std::ffi::CStr;

use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, posix_spawn};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, execve, fork};

use crate::Failure;

const PROGRAM: &CStr = c"/bin/true";
const ENV: [&CStr; 1] = [c"PATH=/usr/bin:/bin"];

/// fork(2), execve(2), waitpid(2).
pub fn fork_exec() -> Result<(), Failure> {
    // SAFETY: this process has one thread, so the child may do what it likes.
    let child = match unsafe { fork() }? {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let _ = execve(PROGRAM, &[PROGRAM], &ENV);
            std::process::abort();
        }
    };
    succeeded(child)
}

/// posix_spawn(3), which is vfork(2) and execve(2) in the C libraries of Linux, and waitpid(2).
pub fn spawn() -> Result<(), Failure> {
    let actions = PosixSpawnFileActions::init()?;
    let attributes = PosixSpawnAttr::init()?;
    succeeded(posix_spawn(
        PROGRAM,
        &actions,
        &attributes,
        &[PROGRAM],
        &ENV,
    )?)
}

fn succeeded(child: Pid) -> Result<(), Failure> {
    match waitpid(child, None)? {
        WaitStatus::Exited(_, 0) => Ok(()),
        other => Err(format!("'/bin/true' failed: {other:?}").into()),
    }
}
