//! The self-test's child: it tries everything without the layers, then inside them in each way of starting jobs.

use crate::self_test::probes::{Attempt, DEVICE, FIFO, FILE, PROGRAM, STAGE, Stage};
use crate::spawner::{Forker, HostMounts, MOUNTS_CHANGED, PreforkedStrict};
use crate::steps::checklist::confined;
use crate::steps::child_env::ChildEnv;
use crate::steps::child_env::Inherited;
use crate::steps::report::Fault;
use crate::sys::{self, ForkCall};
use nix::{
    fcntl::{Flock, FlockArg},
    mount::{MsFlags, mount},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::stat::{Mode, SFlag, makedev, mknod, umask},
};
use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd},
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
};

/// Not an errno: the attempt itself failed.
pub(super) const BROKEN: u8 = 254;
/// Not an errno: there was no process for the attempt, or it was killed. No layer does that, but a machine short of
/// memory or pids does: nothing was seen of the layer.
pub(super) const UNTRIED: u8 = 253;
/// Maximum forks of one child of a worker while mounts of the host change: a logout removes several, one by one.
const FORKS: usize = 20;

/// Writes one byte per attempt: first all without the layers, then all inside them, and, if workers fork such jobs,
/// too, again inside them for each way of forking.
pub(super) fn run_child(
    child_env: ChildEnv<'_>,
    mut stage: Stage<'_>,
    asked: &[&Attempt],
    as_worker: Option<(&Forker<'_>, Vec<BorrowedFd<'_>>)>,
) -> i32 {
    if set_stage(&mut stage).is_err() {
        return 1;
    }
    for attempt in asked {
        let answer = try_one(attempt, &stage, child_env.sandbox.kernel.fork, || {
            sys::become_user(stage.uid, stage.gid, &stage.sandbox.credentials.groups)?;
            sys::clear_capabilities()
        });
        if sys::write(child_env.stdout, &[answer]).is_err() {
            return 1;
        }
    }
    // Under the filter clone3 does not exist.
    let behind = |_: BorrowedFd<'_>| {
        let report = asked.iter().try_for_each(|attempt| {
            let answer = try_one(attempt, &stage, ForkCall::Clone, || Ok(()));
            sys::write(sys::borrowed(1), &[answer]).map(drop)
        });
        i32::from(report.is_err())
    };
    let Some((forker, steps)) = as_worker else {
        return confined(&child_env, behind);
    };
    let plainly = sys::fork(child_env.sandbox.kernel.fork, None, || {
        confined(&child_env, behind)
    });
    if exit_status(plainly) != 0 {
        return 1;
    }
    let Ok(host_mounts) = forker
        .set_inherited_state()
        .and_then(|()| HostMounts::here())
    else {
        return 1;
    };
    for (steps, preforked) in steps.into_iter().zip([false, true]) {
        let fork = || from_worker(&child_env, forker, &host_mounts, steps, preforked, &behind);
        // Never repeated after its job was seen: a second child's answers could not be distinguished.
        let status = (0..FORKS)
            .map(|_| fork())
            .find(|status| *status != MOUNTS_CHANGED);
        match status {
            Some(0) => {}
            Some(_) => return 1,
            None => return MOUNTS_CHANGED,
        }
    }
    0
}

pub(super) fn ways(forker: &Forker<'_>) -> usize {
    if forker.is_strict() { 1 } else { 2 }
}

fn from_worker(
    child_env: &ChildEnv<'_>,
    forker: &Forker<'_>,
    host_mounts: &HostMounts,
    steps: BorrowedFd<'_>,
    preforked: bool,
    behind: &impl Fn(BorrowedFd<'_>) -> i32,
) -> i32 {
    let confined = |inherited: Inherited<'_>| {
        let inherited = Some(inherited);
        let child_env = ChildEnv {
            steps,
            inherited,
            ..child_env.clone()
        };
        i32::from(confined(&child_env, behind) != 0)
    };
    let forked = match forker.is_strict() {
        true => fork_strict(child_env, forker, host_mounts, confined),
        false => fork_in_mount_ns(forker, host_mounts, preforked, confined),
    };
    exit_status(forked)
}

/// Waits for a forked child, and returns its exit status. 1: there was no child, or a signal ended it.
fn exit_status(forked: io::Result<(i32, OwnedFd)>) -> i32 {
    match forked.and_then(|(pid, _)| sys::wait(pid, 0)) {
        Ok(ended) => ended.and_then(|(status, _)| status.code()).unwrap_or(1),
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => MOUNTS_CHANGED,
        Err(_) => 1,
    }
}

/// Returns the number without its owner, which would close it.
fn unowned(fd: OwnedFd) -> BorrowedFd<'static> {
    sys::borrowed(fd.into_raw_fd())
}

fn fork_strict(
    child_env: &ChildEnv<'_>,
    forker: &Forker<'_>,
    host_mounts: &HostMounts,
    confined: impl Fn(Inherited<'_>) -> i32,
) -> io::Result<(i32, OwnedFd)> {
    let strict = PreforkedStrict::new(forker, host_mounts, child_env.own, child_env.stage)?;
    sys::fork(ForkCall::Clone3, None, || {
        if forker.begin_early(host_mounts).is_err() {
            return 1;
        }
        let job = |ruleset: Option<OwnedFd>| {
            confined(forker.inherited(host_mounts, ruleset.map(unowned), None))
        };
        strict.live(None, job)
    })
}

fn fork_in_mount_ns(
    forker: &Forker<'_>,
    host_mounts: &HostMounts,
    preforked: bool,
    confined: impl Fn(Inherited<'_>) -> i32,
) -> io::Result<(i32, OwnedFd)> {
    let mount_ns = forker
        .current_mount_ns(host_mounts)
        .map_err(Fault::into_error)?;
    let (ready, go) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    sys::write(go.as_fd(), &[1])?;
    sys::fork(ForkCall::Clone3, None, || {
        if !preforked {
            let go = Some(ready.as_fd());
            return confined(forker.inherited(host_mounts, mount_ns.ruleset(), go));
        }
        let closed = forker.begin_early(host_mounts);
        match closed.and_then(|()| forker.confine_in_advance(host_mounts, &mount_ns)) {
            Ok(loginuid) => confined(Forker::closed(loginuid.map(unowned))),
            Err(_) => 1,
        }
    })
}

fn try_one(
    attempt: &Attempt,
    stage: &Stage<'_>,
    call: ForkCall,
    before: impl FnOnce() -> io::Result<()>,
) -> u8 {
    let child = || match before() {
        Ok(()) => (attempt.run)(stage),
        Err(_) => BROKEN.into(),
    };
    let Ok((pid, _)) = sys::fork(call, None, child) else {
        return UNTRIED;
    };
    let ended = sys::wait(pid, 0).ok().flatten();
    judge(ended.map(|(status, _)| status))
}

fn judge(ended: Option<ExitStatus>) -> u8 {
    let Some(status) = ended else {
        return BROKEN;
    };
    if status.signal() == Some(libc::SIGKILL) {
        return UNTRIED;
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.unwrap_or(BROKEN)
}

/// Makes a private copy of the mounts with a tmpfs over `/sys` whose files are open to everyone, and a bystander of
/// the job's uid that holds a lock on one of the files.
fn set_stage(stage: &mut Stage<'_>) -> io::Result<()> {
    sys::own_mounts()?;
    sys::set_whole_tree(0, sys::Propagation::Private)?;
    let none: Option<&CStr> = None;
    mount(
        Some(c"tmpfs"),
        STAGE,
        Some(c"tmpfs"),
        MsFlags::empty(),
        none,
    )?;
    umask(Mode::empty());
    let open = Mode::from_bits_truncate(0o666);
    mknod(FILE, SFlag::S_IFREG, open, 0)?;
    mknod(FIFO, SFlag::S_IFIFO, open, 0)?;
    mknod(PROGRAM, SFlag::S_IFREG, Mode::from_bits_truncate(0o755), 0)?;
    mknod(DEVICE, SFlag::S_IFCHR, open, makedev(1, 5))?;
    let file = sys::open(FILE, libc::O_RDONLY)?;
    let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| e)?;
    let (ready, report) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let (uid, gid) = (stage.uid, stage.gid);
    let parent_pidfd = sys::pidfd_open(i32::try_from(std::process::id()).unwrap_or_default())?;
    let (pid, _pidfd) = sys::fork(stage.sandbox.kernel.fork, None, || {
        let settled = sys::become_user(uid, gid, &[])
            .and_then(|()| sys::clear_capabilities())
            .and_then(|()| sys::die_with_parent())
            .and_then(|()| sys::write(report.as_fd(), &[1]))
            .and_then(|_| sys::renumber(lock.as_fd(), 0))
            .and_then(|()| sys::renumber(parent_pidfd.as_fd(), 1))
            .and_then(|()| sys::close_from(2));
        // The death signal may not get through the self-test's own layers.
        let mut ended = [PollFd::new(sys::borrowed(1), PollFlags::POLLIN)];
        i32::from(settled.is_err() || poll(&mut ended, PollTimeout::NONE).is_err())
    })?;
    stage.bystander = pid;
    drop(report);
    let mut byte = [0];
    if sys::read(ready.as_fd(), &mut byte)? != 1 {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    // The bystander keeps it; unlocking here would end it for both.
    std::mem::forget(lock);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Raw as in wait(2): a status in the second byte, a signal in the first.
    #[test]
    fn only_what_was_tried_is_judged() {
        for (raw, want) in [
            (Some(0), 0),
            (Some(13 << 8), 13),
            (Some(255 << 8), 255),
            (Some(libc::SIGKILL), UNTRIED),
            // What a layer can do to it, and a bug.
            (Some(libc::SIGSYS), BROKEN),
            (Some(libc::SIGSEGV), BROKEN),
            (None, BROKEN),
        ] {
            assert_eq!(judge(raw.map(ExitStatus::from_raw)), want, "{raw:?}");
        }
    }
}
