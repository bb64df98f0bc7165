//! System tests of remit on its real binaries: attacks, scenes to attack, and throw-away daemons.
//!
//! Nothing of this is shipped.

// A test stops at the first surprise; clippy knows that only of functions marked as tests.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

pub mod accounts;
pub mod attack;
pub mod caller;
pub mod canary;
mod cgroup;
pub mod control;
pub mod daemon;
pub mod directory;
pub mod door;
pub mod holdings;
pub mod hostile;
pub mod lingering;
pub mod login;
pub mod place;
pub mod process;
pub mod random;
pub mod scene;
pub mod session;
