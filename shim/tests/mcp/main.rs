//! The program as an MCP client meets it: raw lines in, raw lines out, and a
//! small daemon of the tests' own behind it.

// A test may stop at the first surprise; clippy knows that only of functions marked as tests.
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
mod ends;
mod eras;
mod flow;
mod lost;
mod outside;
mod pipe;
mod quoted;
mod search;
