//! Prepares what is the same for all jobs before any is forked: once by a worker, or by a self-test that imitates one.

use crate::Layer;
use crate::spawner::direct::tmpfs_options;
use crate::spawner::mount_ns::{HostMounts, JobMountNs};
use crate::spec::compiled::Base;
use crate::steps::beginning::FIRST_TO_GO;
use crate::steps::checklist;
use crate::steps::child_env::{Inherited, ProcAccess};
use crate::steps::report::Fault;
use crate::steps::seccomp::{self, Halves};
use crate::sys;
use crate::{Result, Sandbox, Why};
use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

const TRIES: usize = 3;

#[derive(Debug)]
pub(crate) struct Forker<'a> {
    pub(super) sandbox: &'a Sandbox,
    halves: Halves,
    tmpfs: CString,
}

impl<'a> Forker<'a> {
    pub(crate) fn new(sandbox: &'a Sandbox) -> Result<Forker<'a>> {
        Ok(Forker {
            sandbox,
            halves: seccomp::halves(sandbox.layers, sandbox.class)?,
            // Its user is not known yet: as on the host, its /tmp is root's and open to all users.
            tmpfs: tmpfs_options(&sandbox.limits, 0o1777, 0, 0)?,
        })
    }

    /// Sets what children inherit: signals, umask, scheduling, half of the filter; no capability, if jobs keep none.
    pub(crate) fn set_inherited_state(&self) -> io::Result<()> {
        let layers = self.sandbox.layers;
        sys::set_dumpable(false)?;
        sys::default_signals()?;
        sys::reset_umask_and_personality()?;
        if layers.is_on(Layer::Scheduling) {
            sys::reset_scheduling()?;
        }
        let none = self.sandbox.credentials.capabilities == 0;
        if none && layers.is_on(Layer::Capabilities) && layers.is_on(Layer::Identity) {
            sys::drop_bounding()?;
        }
        sys::install_filter(self.halves.inherited.instructions())
    }

    pub(crate) fn begin_early(&self, host_mounts: &HostMounts) -> io::Result<()> {
        sys::die_with_parent()?;
        sys::new_session()?;
        if self.sandbox.layers.is_on(Layer::Scheduling) {
            let proc = Some(host_mounts.proc.as_fd());
            let score = sys::open_at(proc, c"self/oom_score_adj", libc::O_WRONLY)?;
            sys::write(score.as_fd(), FIRST_TO_GO)?;
        }
        Ok(())
    }

    pub(crate) fn is_strict(&self) -> bool {
        matches!(self.sandbox.base, Base::Strict(_))
    }

    pub(super) fn mount_ns(
        &self,
        host_mounts: &HostMounts,
    ) -> std::result::Result<JobMountNs, Fault> {
        match &self.sandbox.base {
            Base::Read(overmounts) => {
                let fence = self.sandbox.fence.as_ref();
                host_mounts.mount_ns(self.sandbox.layers, overmounts, fence, &self.tmpfs)
            }
            Base::Strict(_) | Base::Host => Err(Fault::because(Why::Unmet)),
        }
    }

    /// Does the same, cut off from the host. Repeats it if the host's tree changes meanwhile.
    pub(crate) fn current_mount_ns(
        &self,
        host_mounts: &HostMounts,
    ) -> std::result::Result<JobMountNs, Fault> {
        for _ in 0..TRIES {
            match self.mount_ns(host_mounts) {
                Ok(mount_ns) if host_mounts.cut_off()? => return Ok(mount_ns),
                Err(fault) if !host_mounts.has_changed()? => return Err(fault),
                Ok(_) | Err(_) => {}
            }
        }
        Err(Fault::because(Why::Errno).with_errno(libc::EBUSY))
    }

    pub(crate) fn inherited<'b>(
        &'b self,
        host_mounts: &'b HostMounts,
        ruleset: Option<BorrowedFd<'b>>,
        go: Option<BorrowedFd<'b>>,
    ) -> Inherited<'b> {
        Inherited {
            ruleset,
            closing: Some(&self.halves.closing),
            own: ProcAccess::Proc(host_mounts.proc.as_fd()),
            go,
        }
    }

    /// Applies, in a pre-forked child in `mount_ns`, every layer that needs no job. Afterwards the child can neither make
    /// another mount namespace nor cut this one off. Returns the file of its login uid, if there is one.
    pub(crate) fn confine_in_advance(
        &self,
        host_mounts: &HostMounts,
        mount_ns: &JobMountNs,
    ) -> io::Result<Option<OwnedFd>> {
        let sandbox = self.sandbox;
        if sandbox.layers.is_on(Layer::Keyring) {
            checklist::new_keyring(sandbox)?;
        }
        let proc = Some(host_mounts.proc.as_fd());
        let loginuid = match sys::open_at(proc, c"self/loginuid", libc::O_WRONLY) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            other => Some(other?),
        };
        // Set now, because the filter makes setting this limit a success without effect. It is the same for all jobs.
        let rows = sandbox.ceilings.apply(&sandbox.limits);
        let core = rows.iter().find(|row| row.resource == libc::RLIMIT_CORE);
        if let Some(row) = core.filter(|_| sandbox.layers.is_on(Layer::Rlimits)) {
            sys::set_limit(row.resource, row.soft, row.hard)?;
        }
        if let Some(ruleset) = mount_ns.ruleset() {
            sys::landlock_restrict(ruleset, sandbox.landlock_flags())?;
        }
        sys::install_filter(self.halves.closing.instructions())?;
        Ok(loginuid)
    }

    pub(crate) fn closed(loginuid: Option<BorrowedFd<'_>>) -> Inherited<'_> {
        Inherited {
            ruleset: None,
            closing: None,
            own: ProcAccess::Loginuid(loginuid),
            go: None,
        }
    }
}
