//! Killing all processes of a uid in the jobs' pid namespace: the way without `cgroup.kill`.

use crate::error::{Doing, Error, Result};
use crate::floor::{self, ForkCall};
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
/// It keeps nothing open of the warden's but `told`, as 0, and may be signalled by nobody but
/// root: a job that signals whatever it may, in a loop, would be faster than any process of its
/// own uid. The one that counts has to be of that uid; while anybody kills it, it is not the last.
fn end_all(uid: u32, told: BorrowedFd<'_>) -> io::Result<()> {
    floor::default_signals()?;
    let told = floor::copy_above(told, 3)?;
    floor::place(told, 0)?;
    floor::close_from(1)?;
    become_hunter(uid)?;
    loop {
        match floor::kill_all(libc::SIGKILL) {
            Err(e) if e.raw_os_error() != Some(libc::ESRCH) => return Err(e),
            _ => {}
        }
        let (pid, _) = floor::fork(ForkCall::Clone, None, || match is_last(uid) {
            Ok(true) => 0,
            Ok(false) | Err(_) => 1,
        })?;
        let ended = floor::wait(pid, 0)?;
        if ended.is_some_and(|(status, _)| status.success()) {
            return Ok(());
        }
        // Zombies wait for the keeper or the warden.
        floor::rest();
    }
}

/// May signal whom `uid` may, by the effective uid, which gives nobody a right to signal it: that
/// goes by the real and the saved one. kill(2). No job has those, each killer has others.
fn become_hunter(uid: u32) -> io::Result<()> {
    // 0 is root; to setresuid(2) the last one means no change.
    let own = [uid ^ (1 << 31), uid ^ (1 << 30)]
        .into_iter()
        .find(|own| ![0, u32::MAX].contains(own))
        .ok_or(io::ErrorKind::InvalidInput)?;
    floor::drop_bounding()?;
    floor::lock_securebits()?;
    floor::act_as(own, uid)?;
    floor::clear_capabilities()?;
    floor::set_dumpable(false)?;
    floor::die_with_parent()
}

/// Whether this process, from now on of `uid` alone, is the only one of it.
fn is_last(uid: u32) -> io::Result<bool> {
    floor::become_effective(uid)?;
    floor::die_with_parent()?;
    floor::set_limit(libc::RLIMIT_NPROC, 2, 2)?;
    match floor::fork(ForkCall::Clone, None, || 0) {
        Ok((pid, _)) => floor::wait(pid, 0).map(|_| true),
        Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => Ok(false),
        Err(e) => Err(e),
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
