//! The self-test's child: it tries everything without the layers, then inside them.

use crate::Step;
use crate::self_test::probes::{
    Attempt, DEVICE, FIFO, FILE, NAME, OPEN, PIPE, PRIVATE, PROGRAM, SECRET, SERVICES, STAGE, Stage,
};
use crate::spec::compiled::Base;
use crate::steps::enter::ChildEnv;
use crate::steps::lists::{enter, walk};
use crate::steps::prepare::Preparing;
use crate::steps::report::{Failure, StepLog};
use crate::steps::setup::SettingUp;
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
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
};

/// Not an errno: the attempt itself failed.
pub(super) const BROKEN: u8 = 254;
/// Not an errno: no process for the attempt, or it was killed, as without memory or pids. The layer was not seen.
pub(super) const UNTRIED: u8 = 253;
/// Writes one byte per attempt: first without the layers, then inside, after the lists of a worker and its child.
pub(super) fn run_child(
    env: &ChildEnv<'_>,
    mut prepared: Preparing<'_>,
    mut stage: Stage<'_>,
    asked: &[&Attempt],
) -> i32 {
    // The others are its parent's: a socket of the spawner would outlive it here.
    let cgroup = prepared.cgroup.unwrap_or(env.steps);
    let kept = [env.stdout, env.stderr, env.steps, cgroup].map(|fd| fd.as_raw_fd());
    let mut log = StepLog::default();
    if let Err(error) = sys::close_all_but(kept).and_then(|()| set_stage(&mut stage)) {
        let (step, fault) = (Step::Session, error.into());
        let _ = log.send(env.steps, Some(Failure { step, fault }));
        return 1;
    }
    let sandbox = env.sandbox;
    for attempt in asked {
        let answer = try_one(attempt, &stage, sandbox.kernel.fork, || {
            sys::become_user(stage.uid, stage.gid, &sandbox.credentials.groups)?;
            sys::clear_capabilities()
        });
        if sys::write(env.stdout, &[answer]).is_err() {
            return 1;
        }
    }
    // Under the filter clone3 does not exist.
    let behind = |_: BorrowedFd<'_>, _| {
        let report = asked.iter().try_for_each(|attempt| {
            let answer = try_one(attempt, &stage, ForkCall::Clone, || Ok(()));
            sys::write(sys::borrowed(1), &[answer]).map(drop)
        });
        i32::from(report.is_err())
    };
    let lists = sandbox.base.lists();
    let mut own = SettingUp {
        sandbox,
        listener: None,
    };
    if let Err(failure) = walk(lists.setup, &mut log, |take| take(&mut own)) {
        let _ = log.send(env.steps, Some(failure));
        return 1;
    }
    prepared.parent = std::process::id();
    let forked = sys::fork(sandbox.kernel.fork, None, || {
        match walk(lists.prepare, &mut log, |take| take(&mut prepared)) {
            Ok(()) => enter(env, prepared, log, behind),
            Err(failure) => {
                let _ = log.send(env.steps, Some(failure));
                1
            }
        }
    });
    let ended = forked.and_then(|(pid, _)| sys::wait(pid, 0));
    match ended.map(|ended| ended.and_then(|(status, _)| status.code())) {
        Ok(Some(0)) => 0,
        _ => 1,
    }
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

/// Makes private mounts with an open tmpfs over `/sys`, and a bystander of the job's uid that locks one of its files.
fn set_stage(stage: &mut Stage<'_>) -> io::Result<()> {
    sys::own_mounts()?;
    sys::set_whole_tree(0, sys::Propagation::Private)?;
    let none: Option<&CStr> = None;
    let tmpfs = |at| mount(Some(c"tmpfs"), at, Some(c"tmpfs"), MsFlags::empty(), none);
    tmpfs(STAGE)?;
    umask(Mode::empty());
    let open = Mode::from_bits_truncate(0o666);
    if let Base::View(_) = stage.sandbox.base {
        tmpfs(SERVICES)?;
        stage.outside.services = sys::stat(SERVICES)?.st_dev;
        mknod(SECRET, SFlag::S_IFREG, Mode::from_bits_truncate(0o600), 0)?;
        mknod(OPEN, SFlag::S_IFREG, open, 0)?;
        mknod(PIPE, SFlag::S_IFIFO, open, 0)?;
        // This process reads it to its end; a job's descriptors are closed.
        std::mem::forget(sys::open(PIPE, libc::O_RDONLY | libc::O_NONBLOCK)?);
        sys::make_dir(PRIVATE, 0o700)?;
        mknod(NAME, SFlag::S_IFREG, open, 0)?;
    }
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
            (Some(libc::SIGSYS), BROKEN), // What a layer can do to it, and a bug.
            (Some(libc::SIGSEGV), BROKEN),
            (None, BROKEN),
        ] {
            assert_eq!(judge(raw.map(ExitStatus::from_raw)), want, "{raw:?}");
        }
    }
}
