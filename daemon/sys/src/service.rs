//! Starts the daemon's own processes.

use crate::error::{Doing, Error, Result};
use crate::rights::drop_all_rights;
use crate::sys::{self, Pointers};
use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
};

/// Runs `program` as `uid`, `gid` and exactly `groups`, without a capability, with `no_new_privs` and a session of its
/// own. Descriptors: each of `fds` at its number (all different, none of stderr), stdin and stdout otherwise null,
/// stderr inherited, nothing else. It is killed when the calling thread ends. It confines itself. Returns when the child
/// exists. A child that cannot execute writes a line to stderr and exits with status 127.
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
    spawn(program, argv, env, Some((uid, gid, groups)), fds)
}

/// Runs `program` in the same way with all rights of this process. It outlives this process, and ends by itself.
pub fn spawn_root(
    program: &CStr,
    argv: &[CString],
    env: &[CString],
    fds: &[(BorrowedFd<'_>, i32)],
) -> Result<(i32, OwnedFd)> {
    spawn(program, argv, env, None, fds)
}

type Identity<'a> = Option<(u32, u32, &'a [u32])>;

fn spawn(
    program: &CStr,
    argv: &[CString],
    env: &[CString],
    identity: Identity<'_>,
    fds: &[(BorrowedFd<'_>, i32)],
) -> Result<(i32, OwnedFd)> {
    let doing = || format!("cannot start '{}'", program.to_string_lossy());
    let mut numbers: Vec<i32> = fds.iter().map(|(_, at)| *at).collect();
    numbers.sort_unstable();
    let wanted = numbers.len();
    numbers.dedup();
    let is_stderr_or_none = |at: &i32| *at < 0 || *at == 2;
    if numbers.len() != wanted || numbers.iter().any(is_stderr_or_none) {
        return Err(Error::refused(
            doing(),
            "two descriptors share a number, or one is standard error",
        ));
    }
    let warden = sys::pidfd_open(std::process::id() as i32).doing(doing)?;
    let (argv, env) = (Pointers::new(argv), Pointers::new(env));
    let above = numbers
        .last()
        .map_or(3, |last| last.saturating_add(1).max(3));
    let child = || {
        let error = match ready(identity, fds, above, &warden) {
            Ok(()) => sys::execve(program, &argv, &env),
            Err(e) => e,
        };
        // For the journal. This process has one thread, so it may allocate.
        let text = format!("cannot execute '{}': {error}\n", program.to_string_lossy());
        let _ = sys::write(sys::borrowed(2), text.as_bytes());
        127
    };
    // Not clone3: the daemon's own filter refuses it.
    sys::fork(sys::ForkCall::Clone, None, child).doing(doing)
}

fn ready(
    identity: Identity<'_>,
    fds: &[(BorrowedFd<'_>, i32)],
    above: RawFd,
    warden: &OwnedFd,
) -> io::Result<()> {
    sys::new_session()?;
    sys::default_signals()?;
    sys::reset_umask_and_personality()?;
    let null = sys::copy_above(sys::open(c"/dev/null", libc::O_RDWR)?.as_fd(), above)?;
    let warden = sys::copy_above(warden.as_fd(), above)?;
    // Copies all of them above the numbers in use first, so that none covers one that is still to be moved.
    let copies: Vec<(BorrowedFd<'_>, RawFd)> = fds
        .iter()
        .map(|(fd, at)| Ok((sys::copy_above(*fd, above)?, *at)))
        .collect::<io::Result<_>>()?;
    for at in [0, 1]
        .into_iter()
        .filter(|at| fds.iter().all(|(_, own)| own != at))
    {
        sys::renumber(null, at)?;
    }
    for (copy, at) in copies {
        sys::renumber(copy, at)?;
    }
    sys::change_dir(c"/")?;
    if let Some((uid, gid, groups)) = identity {
        drop_all_rights(uid, gid, groups)?;
        sys::no_new_privs()?;
    }
    if !sys::pidfd_alive(warden)? {
        return Err(io::ErrorKind::NotFound.into());
    }
    // Numbers between the standard ones and the last wanted one may be open.
    for gap in (3..above).filter(|n| fds.iter().all(|(_, at)| at != n)) {
        sys::close_one(gap);
    }
    sys::close_from(above)
}
