//! A pre-forked child: it has done all that is the same for every job. It serves exactly one job and is never reused.
//! That of a `strict` job has unused namespaces, their monitor and init, and in the finished root the job's process.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};

use super::{Family, MOUNTS_CHANGED, NO_JOB};
use crate::Layer;
use crate::spawner::direct::{shared_pages, tmpfs_options, vet, with_child_env};
use crate::spawner::mount_ns::{HostMounts, JobMountNs};
use crate::spawner::protocol;
use crate::spawner::template_process::Forker;
use crate::spec::compiled::{Base, Strict};
use crate::steps::checklist::{self, new_keyring, new_network};
use crate::steps::child_env::{ChildEnv, Inherited};
use crate::steps::private_root::{self, Mount, Seen};
use crate::steps::report::{Failure, Fault, StepLog};
use crate::supervise::pidns_monitor::{Go, Monitor};
use crate::sys::{self, Propagation};
use crate::{Sandbox, Step, Why};
use remit_spawn::Order;

const USUAL: usize = 16 << 10;

pub(super) struct EarlyChild<'a> {
    pub(super) forker: &'a Forker<'a>,
    pub(super) host_mounts: &'a HostMounts,
    pub(super) socket: BorrowedFd<'a>,
    pub(super) family: &'a Family,
    /// Descriptors of the worker that must not stay open here while the child waits.
    pub(super) foreign: &'a [BorrowedFd<'a>],
}

impl EarlyChild<'_> {
    pub(super) fn live_in(&self, mount_ns: &JobMountNs) -> i32 {
        let closed = self.report_and_begin().and_then(|()| {
            let loginuid = self.forker.confine_in_advance(self.host_mounts, mount_ns)?;
            // The spawner cuts the namespace off when the job comes: no process in it can any more.
            protocol::say_hello(self.socket, mount_ns.namespace())?;
            Ok(loginuid)
        });
        match closed {
            Ok(loginuid) => {
                let loginuid = loginuid.map(|file| sys::borrowed(file.into_raw_fd()));
                self.become_job(Step::Mounts, |_| Ok(Forker::closed(loginuid)))
            }
            Err(_) => NO_JOB,
        }
    }

    pub(super) fn live_strict(&self, strict: &PreforkedStrict<'_>) -> i32 {
        if self.report_and_begin().is_err() {
            return NO_JOB;
        }
        strict.live(Some(self.socket), |ruleset| {
            self.become_job(Step::Root, |own| {
                if own != strict.own() {
                    return Err(io::Error::from_raw_os_error(libc::EBADMSG).into());
                }
                let ruleset = strict.current_ruleset(ruleset)?;
                let ruleset = ruleset.map(|ruleset| sys::borrowed(ruleset.into_raw_fd()));
                Ok(self.forker.inherited(self.host_mounts, ruleset, None))
            })
        })
    }

    fn report_and_begin(&self) -> io::Result<()> {
        // First, so that the spawner knows which process to leave to the warden, whatever becomes of it.
        sys::write(self.socket, &[1])?;
        for fd in self.foreign {
            sys::close_one(fd.as_raw_fd());
        }
        self.forker.begin_early(self.host_mounts)
    }

    /// Waits for the order and executes it. `check` checks the present state for a job of this uid and gid; if that
    /// fails, `step` has failed. Descriptors here have no owner: it would close numbers that are others' by then.
    fn become_job<'b>(
        &self,
        step: Step,
        check: impl FnOnce((u32, u32)) -> Result<Inherited<'b>, Fault>,
    ) -> i32 {
        // Touches the memory for the job's description in advance, so that it is this process's own.
        drop(std::hint::black_box(vec![1u8; USUAL]));
        let received = protocol::receive::<Order>(self.socket);
        let Ok(Some((order, fds))) = received else {
            return NO_JOB;
        };
        let Some((ends, rest)) = protocol::parts(fds) else {
            return NO_JOB;
        };
        let Some(with_fds) = order.with(&rest) else {
            return NO_JOB;
        };
        let job = with_fds.job();
        let sandbox = self.forker.sandbox;
        let inherited = match check((job.uid, job.gid)) {
            Ok(inherited) => inherited,
            Err(fault) => {
                let [_, _, report] = &ends;
                let _ = StepLog::default().send(report.as_fd(), Some(Failure { step, fault }));
                return NO_JOB;
            }
        };
        // The spawner has closed its copies of the pipes by then.
        if vet(sandbox, &job).is_err() || !protocol::may_begin(self.socket) {
            return NO_JOB;
        }
        let never = |child_env: &ChildEnv<'_>| -> crate::Result<i32> {
            sys::exit(checklist::run(child_env))
        };
        with_child_env(sandbox, &job, self.family, &ends, Some(inherited), never).unwrap_or(NO_JOB)
    }
}

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
                Err(fault) if fault.is(Why::Changed) => MOUNTS_CHANGED,
                Err(_) => NO_JOB,
            })
        });
        match watched {
            Err(_) => NO_JOB,
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
    fn current_ruleset(&self, ruleset: Option<OwnedFd>) -> Result<Option<OwnedFd>, Fault> {
        let now = Seen::new(&self.strict.root, self.host_mounts.root());
        if now.is_ok_and(|now| now == self.seen) && !self.host_mounts.has_changed()? {
            return Ok(ruleset);
        }
        self.host_mounts.leave()?;
        sys::own_mounts()?;
        self.build(Propagation::Private)
    }
}
