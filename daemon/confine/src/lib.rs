//! Puts one process into a sandbox, layer by layer in a fixed order, or reports the step that failed. It decides
//! nothing: its callers choose the program, the user and the limits. It is for a process of one thread, because
//! children made here run ordinary code before their exec.

mod error;
mod net;
pub(crate) mod self_test;
pub mod spawner;

/// Data that describes a sandbox: profiles, limits, kernel features, and the compiled form that a child needs.
pub(crate) mod spec {
    pub(crate) mod compiled;
    pub(crate) mod kernel;
    pub(crate) mod layer;
    pub(crate) mod limits;
    pub(crate) mod overmounts;
    pub(crate) mod profile;
    pub(crate) mod recipe;
}

mod steps;

/// Processes and cgroups around jobs: the watchdog, the monitor of a strict job, forked tasks, counting and killing.
pub(crate) mod supervise {
    pub(crate) mod cgroup;
    pub(crate) mod forked_task;
    pub(crate) mod output;
    pub(crate) mod pidns_monitor;
    pub(crate) mod task_count;
    pub(crate) mod watchdog;
}

pub mod sys;

pub use crate::self_test::{Finding, SelfTest, self_test};
pub use crate::spawner::direct::{Job, Spawned, spawn};
pub use crate::spawner::service::spawn_service;
pub use crate::spawner::{PreforkedChild, Workers};
pub use crate::spec::compiled::Sandbox;
pub use crate::spec::kernel::Kernel;
pub use crate::spec::layer::Layer;
pub use crate::spec::limits::{Clamped, Limits};
pub use crate::spec::profile::{HostProfile, ListedPath, ReadProfile, StrictProfile};
pub use crate::steps::arguments::{Argument, PathIs, What};
pub use crate::steps::file_hash::Measured;
pub use crate::steps::seccomp::filtered_calls;
pub use crate::supervise::cgroup::{Cgroup, Cgroups, Controller, Oom, Switch};
pub use crate::supervise::forked_task::{Answer, in_child, in_child_with};
pub use crate::supervise::output::{Closing, OutputEnd};
pub use crate::supervise::watchdog::Watchdog;
pub use crate::sys::inherited_listener;
pub use error::{Error, Result};
pub use net::{Destination, Network};
pub use steps::{Progress, Step, StepReader, Why};
