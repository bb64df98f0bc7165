//! Grants for a time, over the real daemon: what they lift, how they end, and what they never lift.

// A test stops at the first surprise; clippy knows that only of functions marked as tests.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod grants {
    mod ends;
    mod given;
    mod refused;
    mod restart;
    mod revoked;
    mod scene;
}
