//! The chain of records: whole after whatever befell the daemon, and no longer whole once somebody touched it.

// A test stops at the first surprise; clippy knows that only of functions marked as tests.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

#[path = "trail/killed.rs"]
mod killed;
#[path = "trail/scene.rs"]
mod scene;
#[path = "trail/tampered.rs"]
mod tampered;
#[path = "trail/tended.rs"]
mod tended;
