//! The sandboxes under attack, through the real daemon.
//!
//! `controls.rs` shows that each attack succeeds without them. Where the kernel
//! has no Landlock (`make sandbox-without-landlock`) exactly the attacks that
//! Landlock alone refuses get through: the table in SECURITY.md.

// A test stops at the first surprise; clippy knows that only of functions marked as tests.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod sandbox {
    mod approved;
    mod arena;
    mod read;
    mod strict;
}
