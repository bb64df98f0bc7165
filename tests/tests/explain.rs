//! Jobs that the kernel refused something: the answer names the layer, the reason and the next step.

// A test stops at the first surprise; clippy knows that only of functions marked as tests.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod explain {
    mod everyday;
    mod profiles;
    mod scene;
}
