//! What the spawner keeps for the warden: sandboxes, pre-forked children; and processes that it has forked.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use remit_sys::{Doing, Error, Limits, OutputEnd, Result, sys};

use super::Process;
use crate::{Clamped, Description, Finding, Findings, Request};

/// A compiled sandbox. The spawner keeps it as long as this lives.
#[derive(Debug)]
pub struct Sandbox {
    pub(super) id: u64,
    pub(super) description: Description,
    pub(super) spawner: Option<Rc<Process>>,
}

impl Sandbox {
    /// Returns a sandbox that no spawner has, for tests: nothing can run in it.
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

    pub fn can_wait(&self) -> bool {
        self.description.can_wait
    }

    /// Returns the profile's path for `Progress::Failed::at` of `Step::Root` and `Step::Mounts`.
    pub fn path(&self, at: u16) -> Option<&Path> {
        let path = self.description.paths.get(usize::from(at));
        path.map(AsRef::as_ref)
    }

    /// Returns how many processes serve each job in addition to its own. They count among the tasks of its cgroup.
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
            // If this fails, the spawner keeps it a little longer, or has ended.
            let _ = spawner.send(&Request::Forget { sandbox: self.id }, &[]);
        }
    }
}

/// A requested pre-forked child. Dropping it ends it: its cgroup and uid can then be another job's.
#[derive(Debug)]
pub struct PreforkedChild {
    pub(super) child: u64,
    pub(super) sandbox: u64,
    pub(super) socket: OwnedFd,
    /// `None` once it has become a job.
    pub(super) spawner: Option<Rc<Process>>,
}

impl PreforkedChild {
    pub fn serves(&self, sandbox: &Sandbox) -> bool {
        self.sandbox == sandbox.id
    }

    /// Hangs up when the child has ended.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub fn has_ended(&self) -> bool {
        self.hears(PollFlags::empty(), PollTimeout::ZERO)
    }

    /// Waits up to a second until it is known if the child exists.
    pub fn wait(&self) {
        self.hears(PollFlags::POLLIN, PollTimeout::from(1000u16));
    }

    fn hears(&self, events: PollFlags, patience: PollTimeout) -> bool {
        let mut socket = [PollFd::new(self.socket.as_fd(), events)];
        poll(&mut socket, patience).is_ok_and(|heard| heard > 0)
    }

    pub(super) fn take_number(&mut self) -> u64 {
        self.spawner = None;
        self.child
    }
}

impl Drop for PreforkedChild {
    fn drop(&mut self) {
        if let Some(spawner) = &self.spawner {
            let _ = spawner.done(&Request::Drop { child: self.child }, &[]);
        }
    }
}

/// A child on its way to its exec, or beyond. The descriptors are the read ends, non-blocking and close-on-exec.
#[derive(Debug)]
pub struct Spawned {
    /// The warden must reap it.
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub stdout: OutputEnd,
    pub stderr: OutputEnd,
    pub steps: OwnedFd,
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

    /// Returns one finding for each attempt that this kernel allows; `None`: it still runs. Never waits. Fails if the
    /// set-up failed, and names the step. Its bystander, of the same uid, may still be ending: wait until the cgroup
    /// is empty before the uid is used again.
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
