//! The audit trail: before the exec, complete, in a chain, and no place for secrets, forgeries or floods.

// A test stops at the first surprise; clippy knows that only of functions marked as tests.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod audit {
    mod corpus;
    mod exact;
    mod paths;
    mod records;
    mod sinks;
    mod stops;
}
