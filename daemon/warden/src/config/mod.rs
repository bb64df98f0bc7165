//! `remit.toml` and the policy: read by a child, parsed by `remit-compiler`, checked here.

mod limits;
pub(crate) mod policy_reload;

use crate::startup::arguments::Args;
use crate::state_dir::lock::State;

pub use limits::MachineLimits;
pub use remit_settings::{
    AccountRef, AuditConfig, AuditSink, Config, JobLimits, JobsConfig, Need, Output, Sync,
};

/// What the daemon was started with. It does not change until the next start.
#[derive(Debug)]
pub struct Settings {
    pub args: Args,
    pub config: Config,
    pub limits: MachineLimits,
    pub state: State,
}
