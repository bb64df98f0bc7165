//! Pre-forks a `strict` job: unused namespaces, their monitor and init, and in the finished root the job's process.

use crate::spawner::direct::{shared_pages, tmpfs_options};
use crate::spawner::mount_ns::HostMounts;
use crate::spawner::template_process::Forker;
use crate::spec::compiled::{Base, Strict};
use crate::spec::layer::Layer;
use crate::steps::checklist::{self, new_keyring, new_network};
use crate::steps::private_root::{self, Mount, Seen};
use crate::steps::report::Fault;
use crate::supervise::pidns_monitor::{Go, Monitor};
use crate::sys::{self, Propagation};
use crate::{Sandbox, Why};
use std::{
    ffi::CString,
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

/// Parts of a pre-forked `strict` job. A job with a relay is not pre-forked: its relay is forked when it comes.
pub(crate) struct PreforkedStrict<'a> {
    sandbox: &'a Sandbox,
    strict: &'a Strict,
    host_mounts: &'a HostMounts,
    own: (u32, u32),
    tmpfs: CString,
    scratch: CString,
    shared_pages: CString,
    stage: Option<&'a Mount>,
    seen: Seen,
}

impl<'a> PreforkedStrict<'a> {
    pub(crate) fn new(
        forker: &Forker<'a>,
        host_mounts: &'a HostMounts,
        own: (u32, u32),
        stage: Option<&'a Mount>,
    ) -> io::Result<PreforkedStrict<'a>> {
        let sandbox = forker.sandbox;
        let Base::Strict(strict) = &sandbox.base else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let (uid, gid) = sandbox.credentials.user.unwrap_or(own);
        let limits = &sandbox.limits;
        let made = || -> crate::Result<_> {
            Ok([
                tmpfs_options(limits, 0o1777, uid, gid)?,
                tmpfs_options(limits, 0o755, uid, gid)?,
                shared_pages(limits)?,
            ])
        };
        let [tmpfs, scratch, shared_pages] = made().map_err(io::Error::other)?;
        Ok(PreforkedStrict {
            sandbox,
            strict,
            host_mounts,
            own,
            tmpfs,
            scratch,
            shared_pages,
            stage,
            seen: Seen::new(&strict.root, host_mounts.root())?,
        })
    }

    pub(super) fn own(&self) -> (u32, u32) {
        self.own
    }

    /// Returns true if it can wait without hindering an unmount by the host.
    pub(super) fn may_wait(&self) -> io::Result<bool> {
        private_root::may_wait(&self.strict.root, self.host_mounts.root())
    }

    /// Enters the namespaces and is their monitor to the end. `job` is done in the job's process, with the ruleset of
    /// its root. `hello` gets a byte when all of it is ready. Returns an exit status.
    pub(crate) fn live(
        &self,
        hello: Option<BorrowedFd<'_>>,
        job: impl FnOnce(Option<OwnedFd>) -> i32,
    ) -> i32 {
        let (uid, gid) = self.own;
        let monitor = Monitor {
            filters: &self.strict.filters,
            layers: self.sandbox.layers,
            call: self.sandbox.kernel.fork,
            uid,
            gid,
            shared_pages: &self.shared_pages,
            hello,
        };
        let entered = new_network(self.sandbox, self.strict).and_then(|_| monitor.enter());
        let watched = entered.map_err(Fault::from).and_then(|()| {
            monitor.watch(None, |go| match self.prepare(go) {
                Ok(ruleset) => job(ruleset),
                Err(fault) if fault.is(Why::Changed) => super::MOUNTS_CHANGED,
                Err(_) => super::NO_JOB,
            })
        });
        match watched {
            Err(_) => super::NO_JOB,
            Ok(never) => match never {},
        }
    }

    fn prepare(&self, go: Go) -> Result<Option<OwnedFd>, Fault> {
        // While it waits, the root keeps nothing of the host busy (`may_wait`); while built, it follows unmounts.
        let built = self.build(Propagation::Slave);
        // A mount that came since the check may have to be let go; one that went may be why the build failed.
        if self.host_mounts.has_changed()? {
            return Err(Fault::because(Why::Changed));
        }
        let ruleset = built?;
        if self.sandbox.layers.is_on(Layer::Keyring) {
            new_keyring(self.sandbox)?;
        }
        match go.wait() {
            true => Ok(ruleset),
            false => Err(Fault::because(Why::Died)),
        }
    }

    fn build(&self, propagation: Propagation) -> Result<Option<OwnedFd>, Fault> {
        let private = [self.tmpfs.as_c_str(), self.scratch.as_c_str()];
        checklist::new_root(self.sandbox, self.strict, private, self.stage, propagation)
    }

    /// Returns, in the job's process once the job is known, the ruleset of a root as it would be built now. Builds
    /// another root if the host has replaced something that the root shows, or has changed any mount: the same
    /// directory may be an idmapped mount by now.
    pub(super) fn current_ruleset(
        &self,
        ruleset: Option<OwnedFd>,
    ) -> Result<Option<OwnedFd>, Fault> {
        let now = Seen::new(&self.strict.root, self.host_mounts.root());
        if now.is_ok_and(|now| now == self.seen) && !self.host_mounts.has_changed()? {
            return Ok(ruleset);
        }
        self.host_mounts.leave()?;
        sys::own_mounts()?;
        self.build(Propagation::Private)
    }
}
