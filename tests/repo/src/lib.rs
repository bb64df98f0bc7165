//! Rules of the repository that compiler, clippy and rustfmt cannot check.
//!
//! `deny.toml` has the same rules about dependencies, for cargo-deny. These tests check them on every machine
//! that can build remit, without a network.

// Helpers panic as well. clippy.toml permits that only in functions marked `#[test]`.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![cfg(test)]

mod binaries;
mod dependencies;
mod documents;
mod packaging;
mod records;
mod repo;
mod sources;
