//! A cgroup (v2) for each job, where there is a hierarchy we may write.

use crate::{Error, Limits, Result};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A controller of cgroup v2 that limits jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// `memory.max`, `memory.peak`.
    Memory,
    /// `pids.max`.
    Pids,
    /// `cpu.max`.
    Cpu,
}

/// The directory that holds the jobs' cgroups.
#[derive(Debug)]
pub struct Cgroups {
    controllers: Vec<Controller>,
}

impl Cgroups {
    /// Finds the hierarchy and makes ready a base for jobs, its names starting with `name`.
    /// Leftovers of that name are killed and removed. `None`: no writable cgroup v2 here.
    pub fn open(_name: &str) -> Result<Option<Cgroups>> {
        Err(Error::refused("cannot open the cgroup", "not built yet"))
    }

    /// The controllers that really limit jobs here.
    pub fn controllers(&self) -> &[Controller] {
        &self.controllers
    }

    /// A new cgroup for job `id` with those of its limits whose controller is there.
    pub fn create(&self, _id: &str, _limits: &Limits) -> Result<Cgroup> {
        Err(Error::refused("cannot create a cgroup", "not built yet"))
    }
}

/// The cgroup of one job. Dropping it leaves the directory: `remove` it.
#[derive(Debug)]
pub struct Cgroup {
    dir: OwnedFd,
    events: OwnedFd,
}

impl Cgroup {
    /// Its directory.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
    /// Kills every process in it. Processes may still be dying: see `populated`.
    pub fn kill(&self) -> Result<()> {
        Err(Error::refused("cannot kill a cgroup", "not built yet"))
    }
    /// Whether a process is left in it, a zombie not counted.
    pub fn populated(&self) -> Result<bool> {
        Err(Error::refused("cannot read a cgroup", "not built yet"))
    }
    /// For epoll, `EPOLLPRI`: ready when `populated` changed.
    pub fn events(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
    /// Whether the kernel killed one of its processes for memory.
    pub fn oom_killed(&self) -> bool {
        false
    }
    /// Most bytes of memory it ever used, where the controller tells.
    pub fn memory_peak(&self) -> Option<u64> {
        None
    }
    /// Removes the directory. EBUSY while populated.
    pub fn remove(self) -> Result<()> {
        Err(Error::refused("cannot remove a cgroup", "not built yet"))
    }
}
