//! remitd's warden with hostile neighbours: a broker that the test plays, administrators who do
//! not behave, surroundings that are not as they should be.

// A test may stop at the first surprise; clippy knows that only of functions marked as tests.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]
#![allow(unsafe_code)]

mod warden {
    pub mod admin;
    pub mod anything;
    pub mod approvals;
    pub mod flood;
    pub mod ledger;
    pub mod link;
    pub mod profiles;
    pub mod queue;
    pub mod service;
    pub mod stage;
    pub mod start;
    pub mod strangers;
    pub mod trail;
    pub mod walls;
}

use warden::{stage, trail};
