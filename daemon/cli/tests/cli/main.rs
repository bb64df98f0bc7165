//! The built command line against a small daemon that says what a test wants.

// A test may stop at the first surprise; clippy knows that only of functions marked as tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod admin;
mod approvals;
mod audit;
mod doctor;
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
mod shell;
mod terminal;
mod verbs;
mod waiting;
