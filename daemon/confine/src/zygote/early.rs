//! A child that is there before its job: with all that is the same for every job it waits for the order. It has
//! had no job before and gets one alone, so there is nothing in it of another's.

use super::NO_JOB;
use super::apart::Apart;
use super::forker::Forker;
use super::order::{self, MESSAGE, Order};
use super::room::{House, Room};
use crate::Step;
use crate::checklist::{self, Way};
use crate::error::Result;
use crate::floor;
use crate::notes::{Failure, Fault, Notes};
use crate::spawn::{vet, with_way};
use crate::wall::Wall;
use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd},
};

/// What it is born with.
pub(super) struct Early<'a> {
    pub(super) forker: &'a Forker<'a>,
    pub(super) house: &'a House,
    pub(super) socket: BorrowedFd<'a>,
    /// Descriptors of the zygote's that must not stay open here while it waits.
    pub(super) foreign: &'a [Option<BorrowedFd<'a>>],
}

impl Early<'_> {
    /// The life of a child in a room of its own, up to its exec. Returns an exit status.
    pub(super) fn live_in(&self, room: &Room) -> i32 {
        let settled = self.settle().and_then(|()| {
            if self.forker.sandbox.walls.up(Wall::Keyring) {
                checklist::new_keyring(self.forker.sandbox)?;
            }
            floor::write(self.socket, &[1])
        });
        if settled.is_err() {
            return NO_JOB;
        }
        // Cut off; or another one, since the host's tree has changed.
        self.become_job(Step::Mounts, |_| match self.house.cut_off()? {
            true => Ok(room.ruleset.as_ref().map(AsRawFd::as_raw_fd)),
            false => Ok(owned(self.forker.room_of_now(self.house)?.ruleset)),
        })
    }

    /// The life of a monitor and of the job's process that it forks.
    pub(super) fn live_apart(&self, apart: &Apart<'_>) -> i32 {
        if self.settle().is_err() {
            return NO_JOB;
        }
        apart.live(Some(self.socket), |ruleset| {
            self.become_job(Step::Root, |own| match own == apart.own() {
                true => apart.of_now(ruleset).map(owned),
                false => Err(io::Error::from_raw_os_error(libc::EBADMSG).into()),
            })
        })
    }

    fn settle(&self) -> io::Result<()> {
        // Whatever becomes of it, the warden knows whom to reap.
        floor::write(self.socket, &[1])?;
        for fd in self.foreign.iter().flatten() {
            floor::close_one(fd.as_raw_fd());
        }
        self.forker.begin_early(self.house)
    }

    /// Waits for the order and executes it. `tree` gives the ruleset of a tree as it has to be now, for a job of this
    /// uid and gid; `step` is the one that fails where it cannot.
    fn become_job(
        &self,
        step: Step,
        tree: impl FnOnce((u32, u32)) -> std::result::Result<Option<RawFd>, Fault>,
    ) -> i32 {
        let received = order::receive::<Order>(self.socket, &mut vec![0; MESSAGE]);
        // Without one the warden has no use for it.
        let Ok(Some((order, fds))) = received else {
            return NO_JOB;
        };
        let Some((ends, rest)) = order.parts(fds) else {
            return NO_JOB;
        };
        let job = order.job(&rest);
        let sandbox = self.forker.sandbox;
        let ruleset = match tree((job.uid, job.gid)) {
            Ok(ruleset) => ruleset,
            Err(fault) => {
                let [_, _, told] = &ends;
                let _ = Notes::default().send(told.as_fd(), Some(Failure { step, fault }));
                return NO_JOB;
            }
        };
        if vet(sandbox, &job).is_err() {
            return NO_JOB;
        }
        let ruleset = ruleset.map(floor::placed);
        let inherited = self.forker.inherited(self.house, ruleset, None);
        // What owns descriptors here is not to close them: they are others by then.
        let never = |way: &Way<'_>| -> Result<i32> { floor::exit(checklist::run(way)) };
        with_way(sandbox, &job, &ends, Some(inherited), never).unwrap_or(NO_JOB)
    }
}

/// Never closed before its number is given to another.
fn owned(fd: Option<OwnedFd>) -> Option<RawFd> {
    fd.map(IntoRawFd::into_raw_fd)
}
