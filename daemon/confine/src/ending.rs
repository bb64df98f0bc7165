//! Killing all processes of a uid in the jobs' pid namespace: the way without `cgroup.kill`.

use crate::error::{Doing, Error, Result};
use crate::floor::{self, ForkCall};
use crate::keeper::become_nobody;
use crate::{Keeper, kernel, spawn};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// A kill under way.
#[derive(Debug)]
pub struct Killing {
    answer: OwnedFd,
    pid: i32,
    pidfd: OwnedFd,
}

/// What the child answers when it is the last of its uid.
const EMPTY: u8 = 1;

/// Forks a child into the jobs' namespace that, as `uid`, kills all it may until none is left.
/// kill(2) with -1 spares the caller and init and reaches what this uid may signal, all in one
/// go, so that a fork bomb cannot outrun it for long. `uid` must be a job's: 0 is refused.
pub fn kill_uid(keeper: &Keeper, uid: u32) -> Result<Killing> {
    if uid == 0 {
        return Err(Error::refused("cannot kill by uid", "a job is never root"));
    }
    let (answer, told) = spawn::pipe(None)?;
    let child = || match end_all(uid, told.as_fd()) {
        Ok(()) => floor::write(floor::placed(0), &[EMPTY]).map_or(1, |_| 0),
        Err(_) => 1,
    };
    let (pid, pidfd) = keeper.fork(kernel::fork_call()?, None, child)?;
    Ok(Killing { answer, pid, pidfd })
}

/// kill(2) says nothing of who is left: with processes of other uids about it answers 0. So the
/// count is asked by its effect: with room for two processes of this uid a fork succeeds only
/// for the last one, zombies and other namespaces counted.
///
/// It is of the job's uid, so it keeps nothing open of the warden's but `told`, as 0.
fn end_all(uid: u32, told: BorrowedFd<'_>) -> io::Result<()> {
    let call = ForkCall::Clone;
    floor::default_signals()?;
    let told = floor::copy_above(told, 3)?;
    floor::place(told, 0)?;
    floor::close_from(1)?;
    // Its own group id does not matter: signals go by uid.
    become_nobody(uid, uid, &[])?;
    floor::set_limit(libc::RLIMIT_NPROC, 2, 2)?;
    loop {
        match floor::kill_all(libc::SIGKILL) {
            Err(e) if e.raw_os_error() != Some(libc::ESRCH) => return Err(e),
            _ => {}
        }
        match floor::fork(call, None, || 0) {
            Ok((pid, _)) => return floor::wait(pid, 0).map(drop),
            // Zombies wait for the keeper or the warden.
            Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => floor::rest(),
            Err(e) => return Err(e),
        }
    }
}

impl Killing {
    /// Readable when `verified` will not wait. It may never be, while a process of the job
    /// hangs in the kernel or the job's first process is not reaped: have a deadline.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.answer.as_fd()
    }

    /// Whether no process of the uid was left at the end. False when it is not yet known; then
    /// the kill goes on no further.
    pub fn verified(self) -> Result<bool> {
        let mut byte = [0];
        match floor::read(self.answer.as_fd(), &mut byte) {
            Ok(n) => Ok(n == 1 && byte == [EMPTY]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(e) => Err(e).doing(|| "cannot read the answer of a kill".into()),
        }
    }
}

impl Drop for Killing {
    fn drop(&mut self) {
        let _ = floor::pidfd_send_signal(&self.pidfd, libc::SIGKILL);
        // It runs nothing but the loop above: this waits for microseconds.
        let _ = floor::wait(self.pid, 0);
    }
}
