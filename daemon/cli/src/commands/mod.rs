//! The verbs, one file each.

pub mod access;
pub mod approve;
pub mod audit;
pub mod change;
pub mod client_config;
pub mod completions;
pub mod deny;
pub mod doctor;
pub mod enroll;
pub mod grant;
pub mod grants;
pub mod history;
pub mod host;
mod input;
pub mod job;
pub mod jobs;
pub mod lock;
pub mod named;
pub mod pending;
pub mod policy;
pub mod revoke;
pub mod run;
pub mod show;
pub mod status;
pub mod stop;
pub mod r#try;
pub mod unenroll;
