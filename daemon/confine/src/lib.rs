//! remit-confine: puts one process behind every wall of a sandbox, in a fixed order, or says
//! which step failed.
//!
//! It decides nothing: what may run, as whom, with which limits is its callers' affair. It is
//! for a process of one thread; children made here run ordinary code before their exec.

mod arguments;
mod attempts;
mod beginning;
mod cgroup;
mod checklist;
mod error;
mod execute;
mod fence;
pub mod floor;
mod handed;
mod identity;
mod inherited;
mod keeper;
mod kernel;
mod limits;
mod measure;
mod monitor;
mod mounts;
mod net;
mod notes;
mod places;
mod profile;
mod recipe;
mod root;
mod sandbox;
mod seccomp;
mod service;
mod spawn;
mod steps;
mod task;
mod trust;
mod wall;
mod witness;
pub mod zygote;

pub use arguments::{Argument, PathIs, What};
pub use cgroup::{Cgroup, Cgroups, Controller, Oom, Switch};
pub use error::{Error, Result};
pub use handed::inherited_listener;
pub use keeper::Keeper;
pub use kernel::Kernel;
pub use limits::{Clamped, Limits};
pub use measure::Measured;
pub use net::{Destination, Network};
pub use profile::{HostProfile, Place, ReadProfile, StrictProfile};
pub use sandbox::Sandbox;
pub use seccomp::filtered_calls;
pub use service::spawn_service;
pub use spawn::{Job, Spawned, spawn};
pub use steps::{Progress, Step, StepReader, Why};
pub use task::{Answer, in_child, in_child_with};
pub use wall::Wall;
pub use witness::{Finding, Witness, witness};
pub use zygote::{Waiting, Zygotes};
