//! What an administrator writes down and what comes of it, over the real daemon; and that the examples which are
//! shipped are right.

// A test stops at the first surprise; clippy knows that only of functions marked as tests.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod policy {
    mod arguments;
    mod broken;
    mod catalogue;
    mod commands;
    mod documents;
    mod interpreters;
    mod paths;
    mod profiles;
    mod reload;
    mod scene;
    mod strangers;
}
