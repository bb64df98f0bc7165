//! What stands for all jobs before any of them is forked: done once, by a zygote for itself, and by a
//! witness that tries the walls as a zygote's jobs have them.

use super::room::{House, Room};
use crate::beginning::FIRST_TO_GO;
use crate::checklist;
use crate::floor;
use crate::inherited::{Inherited, Own};
use crate::notes::Fault;
use crate::sandbox::Base;
use crate::seccomp::{self, Halves};
use crate::spawn::tmpfs_options;
use crate::wall::Wall;
use crate::{Result, Sandbox, Why};
use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// How often a room is made anew for one job because the host's tree changes all the time.
const TRIES: usize = 3;

/// The sandbox, and what is made of it once.
#[derive(Debug)]
pub(crate) struct Forker<'a> {
    pub(super) sandbox: &'a Sandbox,
    halves: Halves,
    tmpfs: CString,
}

impl<'a> Forker<'a> {
    /// For jobs in `sandbox`.
    pub(crate) fn of(sandbox: &'a Sandbox) -> Result<Forker<'a>> {
        Ok(Forker {
            sandbox,
            halves: seccomp::halves(sandbox.walls, sandbox.class)?,
            // Whom a room will be for is not known yet: as on the host, its /tmp is root's and anybody's.
            tmpfs: tmpfs_options(&sandbox.limits, 0o1777, 0, 0)?,
        })
    }

    /// Makes this process what its children inherit from: signals, manners, scheduling, no capability to be
    /// had by an exec where jobs keep none, half of the filter.
    pub(crate) fn settle(&self) -> io::Result<()> {
        let walls = self.sandbox.walls;
        floor::set_dumpable(false)?;
        floor::default_signals()?;
        floor::plain_manners()?;
        if walls.up(Wall::Scheduling) {
            floor::plain_scheduling()?;
        }
        let none = self.sandbox.who.capabilities == 0;
        if none && walls.up(Wall::Capabilities) && walls.up(Wall::Identity) {
            floor::drop_bounding()?;
        }
        floor::install_filter(self.halves.inherited.instructions())
    }

    /// In a child that is there before its job: what every job does for itself and none differently.
    pub(crate) fn begin_early(&self, house: &House) -> io::Result<()> {
        floor::die_with_parent()?;
        floor::new_session()?;
        if self.sandbox.walls.up(Wall::Scheduling) {
            let proc = Some(house.proc.as_fd());
            let score = floor::open_at(proc, c"self/oom_score_adj", libc::O_WRONLY)?;
            floor::write(score.as_fd(), FIRST_TO_GO)?;
        }
        Ok(())
    }

    /// Whether its jobs have namespaces of their own. They are all forked ahead, or by the warden.
    pub(crate) fn is_apart(&self) -> bool {
        matches!(self.sandbox.base, Base::Strict(_))
    }

    /// A room of the host's tree as it is now, and this process in it.
    pub(crate) fn room(&self, house: &House) -> std::result::Result<Room, Fault> {
        match &self.sandbox.base {
            Base::Read(places) => {
                let fence = self.sandbox.fence.as_ref();
                house.room(self.sandbox.walls, places, fence, &self.tmpfs)
            }
            Base::Strict(_) | Base::Host => Err(Fault::because(Why::Unmet)),
        }
    }

    /// The same, cut off from the host: made anew where the host's tree changes meanwhile.
    pub(super) fn room_of_now(&self, house: &House) -> std::result::Result<Room, Fault> {
        for _ in 0..TRIES {
            let room = self.room(house)?;
            if house.cut_off()? {
                return Ok(room);
            }
        }
        Err(Fault::because(Why::Errno).with_errno(libc::EBUSY))
    }

    /// What a child has that is forked in a tree of this ruleset: `go` as there.
    pub(crate) fn inherited<'b>(
        &'b self,
        house: &'b House,
        ruleset: Option<BorrowedFd<'b>>,
        go: Option<BorrowedFd<'b>>,
    ) -> Inherited<'b> {
        Inherited {
            ruleset,
            closing: Some(&self.halves.closing),
            own: Own::Proc(house.proc.as_fd()),
            go,
        }
    }

    /// In a child that is there before its job, in `room`: every wall that needs no job. After this it can neither make
    /// another room nor cut this one off. Gives the file of its login uid, where there is such a thing.
    pub(crate) fn close_ahead(&self, house: &House, room: &Room) -> io::Result<Option<OwnedFd>> {
        let sandbox = self.sandbox;
        if sandbox.walls.up(Wall::Keyring) {
            checklist::new_keyring(sandbox)?;
        }
        let proc = Some(house.proc.as_fd());
        let loginuid = match floor::open_at(proc, c"self/loginuid", libc::O_WRONLY) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            other => Some(other?),
        };
        // The filter says yes to whoever sets this one, and lets it be. It is the same for all jobs.
        let rows = sandbox.ceilings.apply(&sandbox.limits);
        let core = rows.iter().find(|row| row.resource == libc::RLIMIT_CORE);
        if let Some(row) = core.filter(|_| sandbox.walls.up(Wall::Rlimits)) {
            floor::set_limit(row.resource, row.soft, row.hard)?;
        }
        if let Some(ruleset) = room.ruleset() {
            floor::landlock_restrict(ruleset, sandbox.landlock_flags())?;
        }
        floor::install_filter(self.halves.closing.instructions())?;
        Ok(loginuid)
    }

    /// What a child has after that.
    pub(crate) fn closed(loginuid: Option<BorrowedFd<'_>>) -> Inherited<'_> {
        Inherited {
            ruleset: None,
            closing: None,
            own: Own::Loginuid(loginuid),
            go: None,
        }
    }
}
