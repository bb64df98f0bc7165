//! A `read` profile and what is compiled of it, once for all its jobs.

use crate::fence::{Fence, fence};
use crate::limits::{Ceilings, Clamped, Limits};
use crate::places::{self, Places};
use crate::seccomp::{self, Program};
use crate::wall::Walls;
use crate::{Kernel, Result};

/// What policy says of a `read` sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadProfile {
    /// Supplementary groups of its jobs, exactly these.
    pub groups: Vec<u32>,
    /// The most a job may ask for, and what the witness runs with.
    pub limits: Limits,
}

/// A compiled profile. Cheap to keep, nothing in it belongs to one job.
#[derive(Debug)]
pub struct Sandbox {
    pub(crate) walls: Walls,
    pub(crate) program: Program,
    pub(crate) fence: Option<Fence>,
    pub(crate) places: Places,
    pub(crate) groups: Vec<u32>,
    pub(crate) limits: Limits,
    pub(crate) ceilings: Ceilings,
    pub(crate) kernel: Kernel,
}

impl Sandbox {
    /// Compiles `profile` for this kernel and this machine's directories.
    pub fn read(profile: &ReadProfile, kernel: &Kernel) -> Result<Sandbox> {
        Self::compile(profile, kernel, Walls::ALL)
    }

    /// The same with one wall missing, for tests that must then fail.
    #[cfg(feature = "mutate")]
    pub fn without(profile: &ReadProfile, kernel: &Kernel, wall: crate::Wall) -> Result<Sandbox> {
        Self::compile(profile, kernel, Walls::without(wall))
    }

    fn compile(profile: &ReadProfile, kernel: &Kernel, walls: Walls) -> Result<Sandbox> {
        Ok(Sandbox {
            walls,
            program: seccomp::compile(walls)?,
            fence: fence(kernel.landlock_abi, walls),
            places: places::find()?,
            groups: profile.groups.clone(),
            limits: profile.limits,
            ceilings: Ceilings::own()?,
            kernel: kernel.clone(),
        })
    }

    /// Which of `limits` will be lower than asked for, because this process's own hard limits
    /// are and it lacks `CAP_SYS_RESOURCE`. To be told with the result.
    pub fn clamped(&self, limits: &Limits) -> Vec<Clamped> {
        self.ceilings.clamped(limits)
    }
}
