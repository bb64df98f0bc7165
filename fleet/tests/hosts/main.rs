//! Tests of the program with real daemons, the real mcp-shim, and hosts that misbehave.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests may fail"
)]

mod approving;
mod client;
mod client_check;
mod files;
mod hostile;
mod logs;
mod lost;
mod many;
mod official_clients;
mod one;
mod people;
mod protocol;
mod real_ssh;
mod screen;
mod sets;
mod stage;
mod undo;
