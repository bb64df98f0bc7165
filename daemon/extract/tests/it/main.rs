//! Extractions from real overlays. Each test has a mount namespace and a tmpfs of its own. They need root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod bounds;
mod capabilities;
mod changes;
mod emptied;
mod hostile;
mod left_out;
mod oracle;
mod random;
mod refused;
mod scene;
mod tables;
