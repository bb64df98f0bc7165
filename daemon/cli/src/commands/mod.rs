//! The verbs; related ones share a file.

pub mod access;
pub mod approve;
pub mod audit;
pub mod client_config;
pub mod enroll;
pub mod grant;
pub mod history;
pub mod host;
mod input;
pub mod job;
pub mod jobs;
pub mod pending;
pub mod policy;
pub mod run;
pub mod status;
