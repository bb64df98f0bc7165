//! A `strict` job's own world, made before there is the job: network and namespaces that no job has had, their
//! monitor and init, and in the finished root the process that becomes the job.

use super::forker::Forker;
use super::room::House;
use crate::checklist::{self, new_keyring, new_network};
use crate::floor::{self, Later};
use crate::monitor::{Go, Monitor};
use crate::notes::Fault;
use crate::root::{self, Mount, Seen};
use crate::sandbox::{Base, Strict};
use crate::spawn::{shared_pages, tmpfs_options};
use crate::wall::Wall;
use crate::{Sandbox, Why};
use std::{
    ffi::CString,
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

/// What one is made of. Its relay, where it has one, is forked when the job comes: such jobs have none ahead.
pub(crate) struct Apart<'a> {
    sandbox: &'a Sandbox,
    strict: &'a Strict,
    house: &'a House,
    /// Uid and gid of the processes that serve the job alone.
    own: (u32, u32),
    tmpfs: CString,
    scratch: CString,
    shared_pages: CString,
    /// What a witness wants to see in the root.
    stage: Option<&'a Mount>,
    seen: Seen,
}

impl<'a> Apart<'a> {
    /// For the job whose own uid and gid these will be.
    ///
    /// # Errors
    /// The sandbox is no `strict` one, or something that it shows is missing.
    pub(crate) fn of(
        forker: &Forker<'a>,
        house: &'a House,
        own: (u32, u32),
        stage: Option<&'a Mount>,
    ) -> io::Result<Apart<'a>> {
        let sandbox = forker.sandbox;
        let Base::Strict(strict) = &sandbox.base else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let (uid, gid) = sandbox.who.user.unwrap_or(own);
        let limits = &sandbox.limits;
        let made = || -> crate::Result<_> {
            Ok([
                tmpfs_options(limits, 0o1777, uid, gid)?,
                tmpfs_options(limits, 0o755, uid, gid)?,
                shared_pages(limits)?,
            ])
        };
        let [tmpfs, scratch, shared_pages] = made().map_err(io::Error::other)?;
        Ok(Apart {
            sandbox,
            strict,
            house,
            own,
            tmpfs,
            scratch,
            shared_pages,
            stage,
            seen: Seen::of(&strict.root, house.root())?,
        })
    }

    pub(super) fn own(&self) -> (u32, u32) {
        self.own
    }

    /// Whether it hinders nobody while it waits.
    pub(super) fn may_wait(&self) -> io::Result<bool> {
        root::may_wait(&self.strict.root, self.house.root())
    }

    /// Enters the namespaces and is their monitor to the end; `job` is done in the job's process, with the
    /// ruleset of its root. `hello` gets a byte when all of it stands. Returns an exit status.
    pub(crate) fn live(
        &self,
        hello: Option<BorrowedFd<'_>>,
        job: impl FnOnce(Option<OwnedFd>) -> i32,
    ) -> i32 {
        let (uid, gid) = self.own;
        let monitor = Monitor {
            filters: &self.strict.filters,
            walls: self.sandbox.walls,
            call: self.sandbox.kernel.fork,
            uid,
            gid,
            shared_pages: &self.shared_pages,
            hello,
        };
        let entered = new_network(self.sandbox, self.strict).and_then(|_| monitor.enter());
        let watched = entered.map_err(Fault::from).and_then(|()| {
            monitor.watch(None, |go| match self.stand(go) {
                Ok(ruleset) => job(ruleset),
                Err(_) => super::NO_JOB,
            })
        });
        match watched {
            Err(_) => super::NO_JOB,
            Ok(never) => match never {},
        }
    }

    /// In the job's process: all that comes before the job is known.
    fn stand(&self, go: Go) -> Result<Option<OwnedFd>, Fault> {
        // While it waits the root keeps nothing that the host may want to let go (`may_wait`), and while it is
        // built, it follows what the host unmounts.
        let ruleset = self.build(Later::Followed)?;
        // Of what has come since it was looked at, nobody knows whether it may be kept.
        if self.house.has_changed()? {
            return Err(Fault::because(Why::Changed));
        }
        if self.sandbox.walls.up(Wall::Keyring) {
            new_keyring(self.sandbox)?;
        }
        match go.wait() {
            true => Ok(ruleset),
            false => Err(Fault::because(Why::Died)),
        }
    }

    fn build(&self, later: Later) -> Result<Option<OwnedFd>, Fault> {
        let private = [self.tmpfs.as_c_str(), self.scratch.as_c_str()];
        checklist::new_root(self.sandbox, self.strict, private, self.stage, later)
    }

    /// In the job's process, once the job is there: the ruleset of a root as it would be built now. It is
    /// another one where the host has put something else in a place that the root shows, or changed any mount: the
    /// same directory may be an idmapped one by now.
    pub(super) fn of_now(&self, ruleset: Option<OwnedFd>) -> Result<Option<OwnedFd>, Fault> {
        let now = Seen::of(&self.strict.root, self.house.root());
        if now.is_ok_and(|now| now == self.seen) && !self.house.has_changed()? {
            return Ok(ruleset);
        }
        self.house.leave()?;
        floor::own_mounts()?;
        self.build(Later::CutOff)
    }
}
