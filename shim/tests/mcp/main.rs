//! Tests of the program with raw lines, as an MCP client, and a test daemon.

// Clippy allows these only in functions marked as tests, not in their helpers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod bad_input;
mod calls;
mod change;
mod daemon;
mod eras;
mod flow;
mod lost;
mod pipe;
mod search;
