//! System tests of remit with its real binaries: attacks, scenes, and throw-away daemons. Not shipped.

// A test stops at the first unexpected error. clippy only knows that of functions marked as tests.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

pub mod accounts;
pub mod attack;
pub mod blocking;
pub mod caller;
pub mod cgroup;
pub mod control;
pub mod daemon;
pub mod fuse;
pub mod holdings;
pub mod hostile;
pub mod process;
pub mod random;
pub mod scene;
pub mod session;
pub mod test_dir;
