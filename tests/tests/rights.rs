//! Rights end when they end: accounts that are removed, renamed or lose a group, and what rests on them.

// A test stops at the first surprise; clippy knows that only of functions marked as tests.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod rights {
    mod approvers;
    mod connections;
    mod denials;
    mod directory;
    mod givers;
    mod logins;
    mod recipients;
    mod scene;
    mod uses;
}
