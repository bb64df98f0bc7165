//! The proxy against a recording fake bus and a real dbus-daemon; the test plays the warden and the jobs. Each server
//! runs confined, and each job's connect(2) goes through a real seccomp listener.
#![allow(
    missing_docs,
    unsafe_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block
)]

mod client;
mod fake;
mod flow;
mod headers;
mod orders;
mod real;
mod sandbox;
mod stage;
