//! System tests on the real binaries: one module for each promise or part. `cargo nextest run -p remit-tests -E
//! 'test(/^approvals::/)'` runs one module.

// Helpers panic as well. clippy.toml permits that only in functions marked `#[test]`.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod approvals;
mod audit;
mod audit_log;
mod broker_death;
mod chaos;
mod command_line;
mod controls;
mod explain;
mod grants;
mod history;
mod identity;
mod injections;
mod input;
mod jobs;
mod mcp_changes;
mod mcp_clients;
mod mcp_jobs;
mod mounts;
mod people;
mod pids;
mod policy;
mod pools;
mod races;
mod restart;
mod rights;
mod sandbox;
mod secrets;
mod soak;
mod steps;
mod strangers;
mod terminal;
mod traceparent;
mod warden;
mod warden_death;
mod without;
mod zygote;
