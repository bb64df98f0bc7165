//! What the broker does with descriptors from the warden: takes over the one that it is born with, and closes those whose
//! close(2) can hang. remit-bus closes those of jobs so.

#![forbid(unsafe_code)]

mod closer;
pub mod inherited;

pub use closer::{Closer, ForeignPipe, sink};
