//! The repository's own rules, held by a test instead of by memory.
//!
//! What the compiler, clippy and rustfmt can hold is left to them. `deny.toml`
//! says the same about dependencies to those who have cargo-deny; here the
//! rules hold on every machine that can build remit, without a network.

// A test may stop at the first surprise; clippy knows that only of functions marked as tests.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod tidy {
    pub mod binaries;
    pub mod dependencies;
    pub mod documents;
    pub mod packaging;
    pub mod records;
    pub mod repo;
    pub mod sources;
}
