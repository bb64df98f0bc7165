//! Changes that another person approves, over the real daemon: what starts by an approval, and what never does.

// A test stops at the first surprise; clippy knows that only of functions marked as tests.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod approvals {
    mod approved;
    mod approvers;
    mod attacks;
    mod clients;
    mod decided;
    mod described;
    mod files;
    mod history;
    mod killed;
    mod marks;
    mod meanwhile;
    mod notified;
    mod scene;
    mod void;
}
