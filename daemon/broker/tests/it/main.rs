//! Starts the real broker; the test plays the warden.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod calls;
mod clients;
mod confinement;
mod damage;
mod follow;
mod history;
mod named;
mod output;
mod queue;
mod search;
mod stage;
