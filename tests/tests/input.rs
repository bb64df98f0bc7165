//! Bad input of every kind, and jobs that do not behave: each ends in a clear refusal or a named outcome, the
//! daemon lives, others are served within a second, and nothing is left running.

// A test stops at the first surprise; clippy knows that only of functions marked as tests.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod input {
    mod connections;
    mod frames;
    mod jobs;
    mod mcp;
    mod named;
    mod requests;
}
