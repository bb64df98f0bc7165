//! Tests of the sandbox on the real kernel, as root.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;
mod endings;
mod facilities;
mod host;
mod identity;
mod measured;
mod mounts;
mod network;
mod read_extras;
mod spawn;
mod strict;
mod strict_ends;
mod witness;
