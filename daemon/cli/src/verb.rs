//! The verbs, one file each.

pub mod access;
pub mod change;
pub mod client_config;
pub mod completions;
pub mod doctor;
pub mod enroll;
pub mod host;
pub mod job;
pub mod jobs;
pub mod lock;
pub mod named;
pub mod policy;
pub mod run;
pub mod status;
pub mod stop;
pub mod r#try;
pub mod unenroll;
