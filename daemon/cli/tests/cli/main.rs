//! Tests the built command line against a fake daemon.

// clippy allows these only in functions marked as tests, not in helpers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod admin;
mod approvals;
mod audit;
mod completion;
mod fake;
mod follow;
mod interrupt;
mod jobs;
mod machine;
mod man;
mod policy;
mod protocol;
mod run;
mod search;
mod terminal;
mod verbs;
mod waiting;
