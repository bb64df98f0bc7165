//! Finds out once which call forks a child with a pidfd.

use std::io;
use std::sync::OnceLock;

use crate::error::{Doing, Result};
use crate::sys::{self, ForkCall};

fn absent(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EOPNOTSUPP))
}

pub fn fork_call() -> Result<ForkCall> {
    static FOUND: OnceLock<ForkCall> = OnceLock::new();
    if let Some(call) = FOUND.get() {
        return Ok(*call);
    }
    let tried = |call| {
        let (pid, _pidfd) = sys::fork(call, None, || 0)?;
        sys::wait(pid, 0).map(drop)
    };
    let call = match tried(ForkCall::Clone3) {
        Ok(()) => ForkCall::Clone3,
        Err(e) if absent(&e) || e.raw_os_error() == Some(libc::EPERM) => {
            tried(ForkCall::Clone)
                .doing(|| "cannot fork with a pidfd (clone, CLONE_PIDFD)".into())?;
            ForkCall::Clone
        }
        Err(e) => return Err(e).doing(|| "cannot fork".into()),
    };
    Ok(*FOUND.get_or_init(|| call))
}
