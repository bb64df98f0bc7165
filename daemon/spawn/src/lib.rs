//! What the warden and the spawner say to each other: profiles, jobs, findings, the closed table of messages with its
//! bounds, and the warden's half. Data, except for the one socket between the two.

mod job;
mod kernel;
mod layer;
mod limits;
mod message;
mod order;
mod profile;
pub mod socket;
mod steps;
mod warden;

pub use job::{Argument, Job, MOST_ARGUMENTS, Measured, PathIs, What};
pub use kernel::Kernel;
pub use layer::Layer;
pub use limits::{Ceilings, Clamped, ResourceLimit, asked};
pub use message::{
    Answer, Credentials, Description, Failure, Finding, Findings, Reply, Request, VERSION,
};
pub use order::{Order, WithFds};
pub use profile::{
    Destination, HostProfile, ListedPath, Network, Profile, ReadProfile, StrictProfile, Wanted,
};
pub use steps::{DONE, FAILED, FAILURE_LEN, NOWHERE, Progress, Step, StepReader, Why};
pub use warden::{Compile, PreforkedChild, Sandbox, SelfTest, Spawned, Spawner, Watchdog};

/// Numbers of the descriptors that a spawner is born with: its socket, and the warden's pidfd.
pub const SOCKET: i32 = 3;
pub const WARDEN: i32 = 4;
