//! A child that is there before its job: with all that is the same for every job it waits for the order. It has
//! had no job before and gets one alone, so there is nothing in it of another's.

use super::NO_JOB;
use super::apart::Apart;
use super::forker::Forker;
use super::order::{self, Order};
use super::room::{House, Room};
use crate::Step;
use crate::checklist::{self, Way};
use crate::error::Result;
use crate::floor;
use crate::inherited::Inherited;
use crate::notes::{Failure, Fault, Notes};
use crate::spawn::{vet, with_way};
use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd},
};

/// Bytes of memory that an order and what is made of it usually need.
const USUAL: usize = 16 << 10;

/// What it is born with.
pub(super) struct Early<'a> {
    pub(super) forker: &'a Forker<'a>,
    pub(super) house: &'a House,
    pub(super) socket: BorrowedFd<'a>,
    /// Descriptors of the zygote's that must not stay open here while it waits.
    pub(super) foreign: &'a [BorrowedFd<'a>],
}

impl Early<'_> {
    /// The life of a child in a room of its own, up to its exec. Returns an exit status.
    pub(super) fn live_in(&self, room: &Room) -> i32 {
        let closed = self.settle().and_then(|()| {
            let loginuid = self.forker.close_ahead(self.house, room)?;
            // The warden cuts the room off when the job comes: nobody can in here any more.
            order::say_hello(self.socket, room.namespace())?;
            Ok(loginuid)
        });
        match closed {
            Ok(loginuid) => {
                let loginuid = loginuid.map(|file| floor::placed(file.into_raw_fd()));
                self.become_job(Step::Mounts, |_| Ok(Forker::closed(loginuid)))
            }
            Err(_) => NO_JOB,
        }
    }

    /// The life of a monitor and of the job's process that it forks.
    pub(super) fn live_apart(&self, apart: &Apart<'_>) -> i32 {
        if self.settle().is_err() {
            return NO_JOB;
        }
        apart.live(Some(self.socket), |ruleset| {
            self.become_job(Step::Root, |own| {
                if own != apart.own() {
                    return Err(io::Error::from_raw_os_error(libc::EBADMSG).into());
                }
                let ruleset = apart.of_now(ruleset)?;
                let ruleset = ruleset.map(|ruleset| floor::placed(ruleset.into_raw_fd()));
                Ok(self.forker.inherited(self.house, ruleset, None))
            })
        })
    }

    fn settle(&self) -> io::Result<()> {
        // Whatever becomes of it, the warden knows whom to reap.
        floor::write(self.socket, &[1])?;
        for fd in self.foreign {
            floor::close_one(fd.as_raw_fd());
        }
        self.forker.begin_early(self.house)
    }

    /// Waits for the order and executes it. `stands` looks whether all is as it has to be now, for a job of this uid
    /// and gid; `step` is the one that fails where it is not. Descriptors here have no owner: that would close numbers
    /// which are others' by then.
    fn become_job<'b>(
        &self,
        step: Step,
        stands: impl FnOnce((u32, u32)) -> std::result::Result<Inherited<'b>, Fault>,
    ) -> i32 {
        // What the job will be described in, as memory of this process's own already.
        drop(std::hint::black_box(vec![1u8; USUAL]));
        let received = order::receive::<Order>(self.socket);
        // Without one the warden has no use for it.
        let Ok(Some((order, fds))) = received else {
            return NO_JOB;
        };
        let Some((ends, rest)) = order.parts(fds) else {
            return NO_JOB;
        };
        let job = order.job(&rest);
        let sandbox = self.forker.sandbox;
        let inherited = match stands((job.uid, job.gid)) {
            Ok(inherited) => inherited,
            Err(fault) => {
                let [_, _, told] = &ends;
                let _ = Notes::default().send(told.as_fd(), Some(Failure { step, fault }));
                return NO_JOB;
            }
        };
        if vet(sandbox, &job).is_err() {
            return NO_JOB;
        }
        let never = |way: &Way<'_>| -> Result<i32> { floor::exit(checklist::run(way)) };
        with_way(sandbox, &job, &ends, Some(inherited), never).unwrap_or(NO_JOB)
    }
}
