//! A child that is there before its job: in a room of its own, with all that is the same for every job, it waits
//! for the order. It has had no job before and gets one alone, so there is nothing in it of another's.

use super::forker::Forker;
use super::order::{self, MESSAGE, Order};
use super::room::{House, Room};
use crate::Step;
use crate::beginning::FIRST_TO_GO;
use crate::checklist::{self, Way};
use crate::error::Result;
use crate::floor;
use crate::notes::{Failure, Fault, Notes};
use crate::spawn::{vet, with_way};
use crate::wall::Wall;
use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

/// Exit status of a child that got no job, or none that it understood.
const NO_JOB: i32 = 127;

/// What it is born with.
pub(super) struct Early<'a> {
    pub(super) forker: &'a Forker<'a>,
    pub(super) house: &'a House,
    pub(super) room: &'a Room,
    pub(super) socket: BorrowedFd<'a>,
    /// Descriptors of the zygote's that must not stay open here while it waits.
    pub(super) foreign: &'a [Option<BorrowedFd<'a>>],
}

impl Early<'_> {
    /// The child's life, up to its exec. Returns an exit status.
    pub(super) fn live(&self) -> i32 {
        for fd in self.foreign.iter().flatten() {
            floor::close_one(fd.as_raw_fd());
        }
        let settled = self.settle().and_then(|()| floor::write(self.socket, &[1]));
        let received = match settled {
            Ok(_) => order::receive::<Order>(self.socket, &mut vec![0; MESSAGE]),
            Err(error) => Err(error),
        };
        match received {
            Ok(Some((order, fds))) => self.become_job(&order, fds),
            // The warden has no use for it.
            Ok(None) | Err(_) => NO_JOB,
        }
    }

    /// What every job does for itself and none differently.
    fn settle(&self) -> io::Result<()> {
        let walls = self.forker.sandbox.walls;
        floor::die_with_parent()?;
        floor::new_session()?;
        if walls.up(Wall::Scheduling) {
            let proc = Some(self.house.proc.as_fd());
            let score = floor::open_at(proc, c"self/oom_score_adj", libc::O_WRONLY)?;
            floor::write(score.as_fd(), FIRST_TO_GO)?;
        }
        if walls.up(Wall::Keyring) {
            checklist::new_keyring(self.forker.sandbox)?;
        }
        Ok(())
    }

    fn become_job(&self, order: &Order, fds: Vec<OwnedFd>) -> i32 {
        let Some((ends, rest)) = order.parts(fds) else {
            return NO_JOB;
        };
        let job = order.job(&rest);
        let sandbox = self.forker.sandbox;
        let newer = match self.room_of_now() {
            Ok(newer) => newer,
            Err(fault) => {
                let step = Step::Mounts;
                let [_, _, told] = &ends;
                let _ = Notes::default().send(told.as_fd(), Some(Failure { step, fault }));
                return NO_JOB;
            }
        };
        let room = newer.as_ref().unwrap_or(self.room);
        if vet(sandbox, &job).is_err() {
            return NO_JOB;
        }
        let inherited = self.forker.inherited(self.house, room, None);
        // What owns descriptors here is not to close them: they are others by then.
        let never = |way: &Way<'_>| -> Result<i32> { floor::exit(checklist::run(way)) };
        with_way(sandbox, &job, &ends, Some(inherited), never).unwrap_or(NO_JOB)
    }

    /// Cuts the room off. `Some`: another one, since the host's tree has changed.
    fn room_of_now(&self) -> std::result::Result<Option<Room>, Fault> {
        match self.house.cut_off()? {
            true => Ok(None),
            false => self.forker.room_of_now(self.house).map(Some),
        }
    }
}
