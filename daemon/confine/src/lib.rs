//! Puts one process into a sandbox, layer by layer in a fixed order, or reports the step that failed. Its callers choose the
//! program, the user and the limits. For a process of one thread: children run ordinary code before their exec.

mod net;
pub(crate) mod self_test;
pub mod spawner;

/// A sandbox, compiled from a profile, and what it needs of this machine.
pub(crate) mod spec {
    pub(crate) mod compiled;
    pub(crate) mod kernel;
    pub(crate) mod overmounts;
}

mod steps;

/// Processes around jobs: the watchdog, the monitor of a strict job, counting.
pub(crate) mod supervise {
    pub(crate) mod pidns_monitor;
    pub(crate) mod task_count;
    pub(crate) mod watchdog;
}

pub use crate::self_test::{SelfTest, self_test};
pub use crate::spawner::Workers;
pub use crate::spawner::family::Family;
pub use crate::spec::compiled::Sandbox;
pub use crate::spec::kernel::probe;
pub use crate::supervise::watchdog::{Watchdog, pull};
pub use remit_spawn::{
    Argument, Child, Clamped, Destination, ExtractProfile, FarAddress, Finding, Fork, Forker,
    HostProfile, Inspect, Job, Kept, KeptView, Kernel, Layer, ListedPath, Measured, Network,
    PathIs, Profile, Progress, ReadProfile, StartedJob, Step, StepFailure, StepReader,
    StrictProfile, ViewProfile, Wanted, What, Why, socket,
};
pub use remit_sys::{
    Cgroup, Cgroups, Controller, Error, Limits, Oom, Result, Switch, spawn_service, sys,
};
