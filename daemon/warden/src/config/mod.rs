//! `remit.toml` and the policy: read by a child, parsed by `remit-compiler`, checked here.

mod limits;
pub(crate) mod policy_reload;

pub use limits::MachineLimits;
pub use remit_settings::{
    AccountRef, AuditConfig, AuditSink, Config, JobLimits, Need, Output, Sync,
};
