//! A pre-forked child: it has done all that is the same for every job. It serves exactly one job and is never reused.

use super::NO_JOB;
use crate::Step;
use crate::error::Result;
use crate::spawner::direct::{vet, with_child_env};
use crate::spawner::mount_ns::{HostMounts, JobMountNs};
use crate::spawner::preforked_strict::PreforkedStrict;
use crate::spawner::protocol::{self, Order};
use crate::spawner::template_process::Forker;
use crate::steps::checklist;
use crate::steps::child_env::ChildEnv;
use crate::steps::child_env::Inherited;
use crate::steps::report::{Failure, Fault, StepLog};
use crate::sys;
use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd},
};

const USUAL: usize = 16 << 10;

pub(super) struct EarlyChild<'a> {
    pub(super) forker: &'a Forker<'a>,
    pub(super) host_mounts: &'a HostMounts,
    pub(super) socket: BorrowedFd<'a>,
    /// Descriptors of the worker that must not stay open here while the child waits.
    pub(super) foreign: &'a [BorrowedFd<'a>],
}

impl EarlyChild<'_> {
    pub(super) fn live_in(&self, mount_ns: &JobMountNs) -> i32 {
        let closed = self.report_and_begin().and_then(|()| {
            let loginuid = self.forker.confine_in_advance(self.host_mounts, mount_ns)?;
            // The warden cuts the namespace off when the job comes: no process in it can any more.
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
        // First, so that the warden knows which process to reap, whatever becomes of it.
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
        check: impl FnOnce((u32, u32)) -> std::result::Result<Inherited<'b>, Fault>,
    ) -> i32 {
        // Touches the memory for the job's description in advance, so that it is this process's own.
        drop(std::hint::black_box(vec![1u8; USUAL]));
        let received = protocol::receive::<Order>(self.socket);
        let Ok(Some((order, fds))) = received else {
            return NO_JOB;
        };
        let Some((ends, rest)) = order.parts(fds) else {
            return NO_JOB;
        };
        let job = order.job(&rest);
        let sandbox = self.forker.sandbox;
        let inherited = match check((job.uid, job.gid)) {
            Ok(inherited) => inherited,
            Err(fault) => {
                let [_, _, report] = &ends;
                let _ = StepLog::default().send(report.as_fd(), Some(Failure { step, fault }));
                return NO_JOB;
            }
        };
        // The warden has closed its copies of the pipes by then.
        if vet(sandbox, &job).is_err() || !protocol::may_begin(self.socket) {
            return NO_JOB;
        }
        let never =
            |child_env: &ChildEnv<'_>| -> Result<i32> { sys::exit(checklist::run(child_env)) };
        with_child_env(sandbox, &job, &ends, Some(inherited), never).unwrap_or(NO_JOB)
    }
}
