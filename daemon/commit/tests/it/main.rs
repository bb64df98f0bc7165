//! `remit-commit` as root on real file systems, each test in a mount namespace of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod attacks;
mod bound;
mod capabilities;
mod directories;
mod forgotten;
mod interrupted;
mod lists;
mod operations;
mod partly;
mod races;
mod scene;
mod staying;
mod tables;
mod whole;
