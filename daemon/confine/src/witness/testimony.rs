//! What a witness does in its own process: it sets its stage, tries everything without the walls, then behind
//! them, each way that jobs come there.

use crate::attempts::{Attempt, DEVICE, FIFO, FILE, PROGRAM, STAGE, Stage};
use crate::checklist::{Way, confined};
use crate::floor::{self, ForkCall};
use crate::notes::Fault;
use crate::zygote::{Apart, Forker, House};
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

/// Not an errno: the attempt itself went wrong.
pub(super) const BROKEN: u8 = 254;
/// Not an errno: there was no process for the attempt, or somebody killed it. No wall does that,
/// a machine short of memory or pids does: nothing was seen of the wall.
pub(super) const UNTRIED: u8 = 253;

/// The child's body. Answers a byte an attempt: first all without the walls, then all behind them, and
/// where jobs are forked by a zygote too, once more behind them as one of those.
pub(super) fn testify(
    way: Way<'_>,
    mut stage: Stage<'_>,
    asked: &[&Attempt],
    as_zygote: Option<(&Forker<'_>, Vec<BorrowedFd<'_>>)>,
) -> i32 {
    if set_stage(&mut stage).is_err() {
        return 1;
    }
    for attempt in asked {
        let answer = try_one(attempt, &stage, way.sandbox.kernel.fork, || {
            floor::become_user(stage.uid, stage.gid, &stage.sandbox.who.groups)?;
            floor::clear_capabilities()
        });
        if floor::write(way.stdout, &[answer]).is_err() {
            return 1;
        }
    }
    // Behind the filter clone3 does not exist.
    let behind = |_: BorrowedFd<'_>| {
        let told = asked.iter().try_for_each(|attempt| {
            let answer = try_one(attempt, &stage, ForkCall::Clone, || Ok(()));
            floor::write(floor::placed(1), &[answer]).map(drop)
        });
        i32::from(told.is_err())
    };
    let Some((forker, steps)) = as_zygote else {
        return confined(&way, behind);
    };
    let ended = |forked: io::Result<(i32, OwnedFd)>| {
        let status = forked.and_then(|(pid, _)| floor::wait(pid, 0));
        status.is_ok_and(|status| status.is_some_and(|(status, _)| status.success()))
    };
    let plainly = floor::fork(way.sandbox.kernel.fork, None, || confined(&way, behind));
    if !ended(plainly) {
        return 1;
    }
    let Ok(house) = forker.settle().and_then(|()| House::here()) else {
        return 1;
    };
    let mut ways = steps.into_iter().zip([false, true]);
    i32::from(
        !ways.all(|(steps, ahead)| ended(from_zygote(&way, forker, &house, steps, ahead, &behind))),
    )
}

/// How many ways a zygote's jobs come behind their walls.
pub(super) fn ways(forker: &Forker<'_>) -> usize {
    if forker.is_apart() { 1 } else { 2 }
}

/// Forks as a zygote does that has settled: a child that is there `ahead` of its job, or not.
fn from_zygote(
    way: &Way<'_>,
    forker: &Forker<'_>,
    house: &House,
    steps: BorrowedFd<'_>,
    ahead: bool,
    behind: &impl Fn(BorrowedFd<'_>) -> i32,
) -> io::Result<(i32, OwnedFd)> {
    let confined = |inherited| {
        let inherited = Some(inherited);
        let way = Way {
            steps,
            inherited,
            ..way.clone()
        };
        confined(&way, behind)
    };
    let unowned = |fd: OwnedFd| floor::placed(fd.into_raw_fd());
    if forker.is_apart() {
        let apart = Apart::of(forker, house, way.own, way.stage)?;
        return floor::fork(ForkCall::Clone3, None, || {
            if forker.begin_early(house).is_err() {
                return 1;
            }
            apart.live(None, |ruleset| {
                confined(forker.inherited(house, ruleset.map(unowned), None))
            })
        });
    }
    let room = forker.room(house).map_err(Fault::into_error)?;
    let (ready, go) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    floor::write(go.as_fd(), &[1])?;
    if !house.cut_off()? {
        return Err(io::ErrorKind::ResourceBusy.into());
    }
    floor::fork(ForkCall::Clone3, None, || {
        if !ahead {
            let go = Some(ready.as_fd());
            return confined(forker.inherited(house, room.ruleset(), go));
        }
        let closed = forker.begin_early(house);
        match closed.and_then(|()| forker.close_ahead(house, &room)) {
            Ok(loginuid) => confined(Forker::closed(loginuid.map(unowned))),
            Err(_) => 1,
        }
    })
}

/// One attempt in a process of its own, after `before`; its exit status is the answer.
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
    let Ok((pid, _)) = floor::fork(call, None, child) else {
        return UNTRIED;
    };
    let ended = floor::wait(pid, 0).ok().flatten();
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

/// A private copy of the mounts with a tmpfs over `/sys` that holds what is open to everyone,
/// and a bystander of the job's uid that holds a lock on one of the files.
fn set_stage(stage: &mut Stage<'_>) -> io::Result<()> {
    floor::own_mounts()?;
    floor::set_whole_tree(0, floor::Later::CutOff)?;
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
    let file = floor::open(FILE, libc::O_RDONLY)?;
    let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| e)?;
    let (ready, told) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let (uid, gid) = (stage.uid, stage.gid);
    let witness = floor::pidfd_open(i32::try_from(std::process::id()).unwrap_or_default())?;
    let (pid, _pidfd) = floor::fork(stage.sandbox.kernel.fork, None, || {
        let settled = floor::become_user(uid, gid, &[])
            .and_then(|()| floor::clear_capabilities())
            .and_then(|()| floor::die_with_parent())
            .and_then(|()| floor::write(told.as_fd(), &[1]))
            .and_then(|_| floor::place(lock.as_fd(), 0))
            .and_then(|()| floor::place(witness.as_fd(), 1))
            .and_then(|()| floor::close_from(2));
        // The death signal may not come through the witness's walls.
        let mut ended = [PollFd::new(floor::placed(1), PollFlags::POLLIN)];
        i32::from(settled.is_err() || poll(&mut ended, PollTimeout::NONE).is_err())
    })?;
    stage.bystander = pid;
    drop(told);
    let mut byte = [0];
    if floor::read(ready.as_fd(), &mut byte)? != 1 {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    // The bystander keeps it; unlocking here would end it for both.
    std::mem::forget(lock);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Raw as wait(2) gives them: a status in the second byte, a signal in the first.
    #[test]
    fn only_what_was_tried_is_judged() {
        for (raw, want) in [
            (Some(0), 0),
            (Some(13 << 8), 13),
            (Some(255 << 8), 255),
            (Some(libc::SIGKILL), UNTRIED),
            // What a wall can do to it, and a bug.
            (Some(libc::SIGSYS), BROKEN),
            (Some(libc::SIGSEGV), BROKEN),
            (None, BROKEN),
        ] {
            assert_eq!(judge(raw.map(ExitStatus::from_raw)), want, "{raw:?}");
        }
    }
}
