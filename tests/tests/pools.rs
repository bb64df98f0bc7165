//! What the kernel has once for the whole machine, or once for a user: no job takes all of it.
//!
//! Each row of the table 'Pools of the machine' in SECURITY.md names what shows it.

// A test stops at the first surprise; clippy knows that only of functions marked as tests.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod pools {
    mod arena;
    mod files;
    mod memory;
    mod network;
    mod table;
    mod time;
    mod trail;
    mod users;
}
