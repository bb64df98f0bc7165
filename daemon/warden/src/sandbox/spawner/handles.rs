//! What the spawner keeps for the warden: sandboxes; and processes that it has forked.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use remit_spawn::{
    Child, Clamped, Description, Finding, Findings, KeptView, OrderedChild, Reports, Request,
};
use remit_sys::{Closing, Doing, Error, Limits, OutputEnd, Result, sys};

use super::Process;

/// A compiled sandbox. The spawner keeps it as long as this lives.
#[derive(Debug)]
pub struct Sandbox {
    pub(super) id: u64,
    pub(super) description: Description,
    pub(super) spawner: Option<Rc<Process>>,
}

impl Sandbox {
    /// Returns a sandbox that no spawner has: nothing can run in it.
    #[cfg(test)]
    pub fn only(description: Description) -> Sandbox {
        Sandbox {
            id: 0,
            description,
            spawner: None,
        }
    }

    pub fn identity(&self, own: u32) -> (u32, u32, &[u32], u64) {
        let credentials = &self.description.credentials;
        let (uid, gid) = credentials.user.unwrap_or((own, own));
        (uid, gid, &credentials.groups, credentials.capabilities)
    }

    pub fn is_served_by(&self, child: &PreforkedChild) -> bool {
        child.is_of(self.id)
    }

    pub fn can_wait(&self) -> bool {
        self.description.can_wait
    }

    pub fn path(&self, at: u16) -> Option<&Path> {
        let path = self.description.paths.get(usize::from(at));
        path.map(AsRef::as_ref)
    }

    pub fn attendants(&self) -> u64 {
        self.description.attendants
    }

    /// Returns those of `limits` that the daemon's own hard limits lower. To be reported with the result.
    pub fn clamped(&self, limits: &Limits) -> Vec<Clamped> {
        self.description.ceilings.clamped(limits)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Some(spawner) = &self.spawner {
            spawner.forget_worker(self.id);
            // If this fails, the spawner keeps it a little longer, or has ended.
            let _ = spawner.send(&Request::Forget { sandbox: self.id }, &[]);
        }
    }
}

pub type PreforkedChild = Child<'static>;
pub type OrderedJob = OrderedChild<'static>;

/// A child on its way to its exec, or beyond. The descriptors are the read ends, non-blocking and close-on-exec.
#[derive(Debug)]
pub struct Spawned {
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub stdout: OutputEnd,
    pub stderr: OutputEnd,
    pub steps: OwnedFd,
    pub reports: Reports,
    /// Its mount namespace. Whoever is the last to leave one waits for its end, which may hang on a file system of the host
    /// that is unmounted meanwhile. So the job is not the last, and neither is who reaps it. It must not outlive the job
    /// for long: it does not follow the host's unmounts.
    pub mount_ns: Option<OutputEnd>,
    pub(super) closing: Closing,
}

impl Spawned {
    /// See [`Reports::kept_view`].
    pub fn kept_view(&self) -> io::Result<KeptView> {
        self.reports.kept_view(&self.closing)
    }
}

/// The process that ends all jobs when the warden dies.
#[derive(Debug)]
pub struct Watchdog {
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
}

impl Watchdog {
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }
}

/// A running self-test. It ends with its cgroup.
#[derive(Debug)]
pub struct SelfTest {
    pub(super) pipe: OwnedFd,
}

impl SelfTest {
    /// Readable when it has ended.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Returns one finding for each attempt that this kernel allows; `None`: it still runs. Never waits. Its bystander,
    /// of the same uid, may still be ending: wait until the cgroup is empty before the uid is used again.
    pub fn read(&self) -> Result<Option<Vec<Finding>>> {
        const DOING: &str = "cannot test the sandbox";
        // The spawner writes all of it at once, which a pipe takes.
        let mut bytes = [0; 64 << 10];
        let length = match sys::read(self.pipe.as_fd(), &mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            read => read.doing(|| DOING.to_owned())?,
        };
        let findings = postcard::from_bytes::<Findings>(bytes.get(..length).unwrap_or_default());
        let findings = findings.map_err(|_| Error::refused(DOING, "it has no result"))?;
        Ok(Some(findings?))
    }
}
