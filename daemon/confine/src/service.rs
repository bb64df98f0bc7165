//! Starting the daemon's own unprivileged processes.

use crate::error::{Doing, Error, Result};
use crate::floor::{self, Pointers};
use crate::keeper::become_nobody;
use crate::kernel;
use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
};

/// Runs `program` as `uid`, `gid` and exactly `groups`, without a capability, with `no_new_privs`
/// and a session of its own. Descriptors: stdin and stdout null, stderr inherited, each of `fds`
/// at its number (3 or more, no two alike), nothing else. It is killed when the calling thread
/// ends. It has no sandbox: it confines itself.
///
/// Returns the pid and its pidfd when the child exists. A child that could not execute ends
/// with status 127 after a line on stderr.
pub fn spawn_service(
    program: &CStr,
    argv: &[CString],
    env: &[CString],
    uid: u32,
    gid: u32,
    groups: &[u32],
    fds: &[(BorrowedFd<'_>, i32)],
) -> Result<(i32, OwnedFd)> {
    let doing = || format!("cannot start '{}'", program.to_string_lossy());
    if uid == 0 || gid == 0 {
        return Err(Error::refused(doing(), "a service is never root"));
    }
    let mut numbers: Vec<i32> = fds.iter().map(|(_, at)| *at).collect();
    numbers.sort_unstable();
    let wanted = numbers.len();
    numbers.dedup();
    if numbers.len() != wanted || numbers.first().is_some_and(|at| *at < 3) {
        return Err(Error::refused(
            doing(),
            "two descriptors share a number, or one is below 3",
        ));
    }
    let warden = floor::pidfd_open(std::process::id() as i32).doing(doing)?;
    let (argv, env) = (Pointers::of(argv), Pointers::of(env));
    let above = numbers.last().map_or(3, |last| last.saturating_add(1));
    let child = || {
        let error = match ready(uid, gid, groups, fds, above, &warden) {
            Ok(()) => floor::execve(program, &argv, &env),
            Err(e) => e,
        };
        // For the journal. This process has one thread, so that it may allocate.
        let text = format!("cannot execute '{}': {error}\n", program.to_string_lossy());
        let _ = floor::write(floor::placed(2), text.as_bytes());
        127
    };
    floor::fork(kernel::fork_call()?, None, child).doing(doing)
}

fn ready(
    uid: u32,
    gid: u32,
    groups: &[u32],
    fds: &[(BorrowedFd<'_>, i32)],
    above: RawFd,
    warden: &OwnedFd,
) -> io::Result<()> {
    floor::new_session()?;
    floor::default_signals()?;
    floor::plain_manners()?;
    let null = floor::copy_above(floor::open(c"/dev/null", libc::O_RDWR)?.as_fd(), above)?;
    let warden = floor::copy_above(warden.as_fd(), above)?;
    // All out of the way first, so that none covers what is still to be placed.
    let copies: Vec<(BorrowedFd<'_>, RawFd)> = fds
        .iter()
        .map(|(fd, at)| Ok((floor::copy_above(*fd, above)?, *at)))
        .collect::<io::Result<_>>()?;
    floor::place(null, 0)?;
    floor::place(null, 1)?;
    for (copy, at) in copies {
        floor::place(copy, at)?;
    }
    floor::change_dir(c"/")?;
    become_nobody(uid, gid, groups)?;
    if !floor::pidfd_alive(warden)? {
        return Err(io::ErrorKind::NotFound.into());
    }
    floor::no_new_privs()?;
    // Between the standard ones and the last wanted one there may be gaps.
    for gap in (3..above).filter(|n| fds.iter().all(|(_, at)| at != n)) {
        floor::close_one(gap);
    }
    floor::close_from(above)
}
